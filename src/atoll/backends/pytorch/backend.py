"""The backend "pytorch"."""

from atoll.backends.api import BackendModel, Capabilities, ModelSource
from atoll.backends.runtime import import_runtime
from atoll.config.autofill import ModelSignature


class PyTorchBackend:
    """See `atoll.backends.api.Backend`."""

    name = "pytorch"
    capabilities = Capabilities()
    default_model_filename = "model.pt"
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature | None:
        """What the model's file says."""
        import_runtime("torch", backend="pytorch", library="PyTorch", extra="pytorch")
        return None

    def load(self, source: ModelSource) -> BackendModel:
        """Load the model."""
        raise NotImplementedError
