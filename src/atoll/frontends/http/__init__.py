"""HTTP/REST: one lean HTTP/1.1 protocol, a table of endpoints, and the same endpoints as an ASGI app."""
