"""How requests come in over the network."""
