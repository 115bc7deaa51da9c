"""What loading costs: start-up, reloads under load, memory per model, and memory over many loads and unloads."""
