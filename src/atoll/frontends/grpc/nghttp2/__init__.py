"""The gRPC transport of our own, on libnghttp2: the extension touches frames, the modules beside it decide."""
