"""Models made of models: the graph of the steps, and how far a request has come in it."""
