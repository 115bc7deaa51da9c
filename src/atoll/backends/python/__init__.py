"""Python models: an existing model.py, run in a process of its own or in a thread of the server."""
