"""Accelerators: what the host needs of their runtimes."""
