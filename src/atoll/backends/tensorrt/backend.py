"""The backend "tensorrt"."""

from atoll.backends.api import BackendModel, Capabilities, ModelSource
from atoll.backends.runtime import import_runtime
from atoll.config.autofill import ModelSignature


class TensorRtBackend:
    """See `atoll.backends.api.Backend`."""

    name = "tensorrt"
    capabilities = Capabilities()
    default_model_filename = "model.plan"
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature | None:
        """What the model's file says."""
        import_runtime("tensorrt", backend="tensorrt", library="TensorRT", extra="tensorrt")
        return None

    def load(self, source: ModelSource) -> BackendModel:
        """Load the model."""
        raise NotImplementedError
