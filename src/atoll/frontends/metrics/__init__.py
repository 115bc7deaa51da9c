"""Prometheus metrics over HTTP, on a port of their own."""
