"""What Python models cost: Atoll's two placements and the real Triton, running the same model.py in turns."""
