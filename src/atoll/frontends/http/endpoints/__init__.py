"""The endpoints of the protocol, each with the routes that lead to it."""
