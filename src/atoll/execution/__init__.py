"""How a batch is run: one thread per model instance."""
