"""For authors of backends and of what is built on Atoll: a backend that does as it is told."""
