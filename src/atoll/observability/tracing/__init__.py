"""Traces: which requests are followed, what is written down of them, and where to."""
