"""The endpoints that Google's Vertex AI calls: a health route, and a predict route behind which the protocol is."""
