"""What is recorded about requests, and how it is shown."""
