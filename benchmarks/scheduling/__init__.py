"""What scheduling costs: ensembles beside the real Triton's, sequences beside plain batches, the batcher by itself."""
