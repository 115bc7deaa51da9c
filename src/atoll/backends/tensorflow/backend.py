"""The backend "tensorflow"."""

from atoll.backends.api import BackendModel, Capabilities, ModelSource
from atoll.backends.runtime import import_runtime
from atoll.config.autofill import ModelSignature


class TensorFlowBackend:
    """See `atoll.backends.api.Backend`."""

    name = "tensorflow"
    capabilities = Capabilities()
    default_model_filename = "model.savedmodel"
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature | None:
        """What the model's file says."""
        import_runtime("tensorflow", backend="tensorflow", library="TensorFlow", extra="tensorflow")
        return None

    def load(self, source: ModelSource) -> BackendModel:
        """Load the model."""
        raise NotImplementedError
