"""The backend "jax"."""

from atoll.backends.api import BackendModel, Capabilities, ModelSource
from atoll.backends.runtime import import_runtime
from atoll.config.autofill import ModelSignature


class JaxBackend:
    """See `atoll.backends.api.Backend`."""

    name = "jax"
    capabilities = Capabilities()
    default_model_filename = "model.jax"
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature | None:
        """What the model's file says."""
        import_runtime("jax", backend="jax", library="JAX", extra="jax")
        return None

    def load(self, source: ModelSource) -> BackendModel:
        """Load the model."""
        raise NotImplementedError
