"""The backend "openvino"."""

from atoll.backends.api import BackendModel, Capabilities, ModelSource
from atoll.backends.runtime import import_runtime
from atoll.config.autofill import ModelSignature


class OpenVinoBackend:
    """See `atoll.backends.api.Backend`."""

    name = "openvino"
    capabilities = Capabilities()
    default_model_filename = "model.xml"
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature | None:
        """What the model's file says."""
        import_runtime("openvino", backend="openvino", library="OpenVINO", extra="openvino")
        return None

    def load(self, source: ModelSource) -> BackendModel:
        """Load the model."""
        raise NotImplementedError
