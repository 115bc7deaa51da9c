"""Ensembles as models: checked against their steps' models, loaded after these, and anew when they change."""
