"""Tensors in memory that clients share with the server: system shared memory, and memory of GPUs."""
