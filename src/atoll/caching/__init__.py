"""The response cache: which requests are equal, what is kept of an answer, and where."""
