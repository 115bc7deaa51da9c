"""Ensembles: models that are run one after the other and side by side, as one."""
