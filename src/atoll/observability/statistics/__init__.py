"""What is counted about requests, for the statistics extension and the metrics."""
