"""Instances behind a process wall: both sides, the channel and the shared memory between them."""
