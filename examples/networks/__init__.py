"""Small convolutional nets, read from ONNX files once and written down for every framework."""
