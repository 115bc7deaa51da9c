"""Atoll side by side with the real Triton Inference Server and with the bare runtime: `python -m benchmarks`."""
