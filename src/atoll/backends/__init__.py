"""What executes models: the contract and the built-in backends."""
