"""What an event loop needs towards an engine of threads: a mailbox, blocking calls, requests that wait for models."""
