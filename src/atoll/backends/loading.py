"""Has a backend load a model, and holds the configuration against what the model then says of itself."""

from atoll.backends.api import Backend, BackendModel, ModelSource
from atoll.config.agreement import check
from atoll.config.problems import config_error, errors_of
from atoll.config.signature import ModelSignature


def load_model(backend: Backend, source: ModelSource) -> BackendModel:
    """The model, in this process. Raises ConfigError naming the tensors, with both sides, where the configuration
    disagrees with it: nothing has looked into its files before where nothing was to be filled in.
    """
    model = backend.load(source)
    found = getattr(model, "signature", None)
    problems = errors_of(check(source.config, found)) if isinstance(found, ModelSignature) else []
    if problems:
        model.close()
        raise config_error(problems, str(source.model_directory))
    return model
