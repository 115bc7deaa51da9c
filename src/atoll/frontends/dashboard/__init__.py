"""The page at /dashboard: how the models are doing, for people who look."""
