"""The unary procedures of the protocol but ModelInfer, each with its path."""
