"""Requests that belong together: slots, candidates, the backlog, and when a sequence ends."""
