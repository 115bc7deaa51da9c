"""Listening for connections: addresses, sockets, certificates, and the event loops among which they are dealt out."""
