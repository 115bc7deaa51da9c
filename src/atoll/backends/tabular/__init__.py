"""Models of scikit-learn, XGBoost and LightGBM: the backend "tabular", and "fil" for repositories of Triton's FIL."""

from atoll.backends.tabular.backend import TabularBackend
from atoll.backends.tabular.fil import FilBackend

__all__ = ["FilBackend", "TabularBackend"]
