"""What sequences add to a batch: control inputs, and states that come back."""
