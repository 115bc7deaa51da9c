"""The metrics page: what is on it, the families that models define themselves, and how it is written."""
