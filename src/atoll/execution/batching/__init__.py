"""From the requests of a batch to the arrays that a backend gets, and back."""
