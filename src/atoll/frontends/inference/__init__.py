"""What goes along with one request of inference, whichever protocol brings it."""
