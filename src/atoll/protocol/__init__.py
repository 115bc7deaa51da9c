"""The wire forms of requests, responses and documents, as pure functions."""
