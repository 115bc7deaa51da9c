"""The backend "tabular"."""

from atoll.backends.api import BackendModel, Capabilities, ModelSource
from atoll.backends.runtime import import_runtime
from atoll.config.autofill import ModelSignature


class TabularBackend:
    """See `atoll.backends.api.Backend`."""

    name = "tabular"
    capabilities = Capabilities()
    default_model_filename = "model.skops"
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature | None:
        """What the model's file says."""
        import_runtime("sklearn", backend="tabular", library="scikit-learn", extra="tabular")
        return None

    def load(self, source: ModelSource) -> BackendModel:
        """Load the model."""
        raise NotImplementedError
