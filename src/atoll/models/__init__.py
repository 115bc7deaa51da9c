"""What is loaded: models, their loading and their states."""
