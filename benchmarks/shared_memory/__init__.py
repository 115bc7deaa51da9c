"""What shared memory saves: the same tensors in requests and in regions, under Atoll and the real Triton, in turns."""
