"""gRPC: one servicer on either of two transports."""
