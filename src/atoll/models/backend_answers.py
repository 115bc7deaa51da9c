"""What a model's backend says before the model is loaded: what its files hold, and which GPUs it can run on."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from atoll.backends.api import Backend, ChildRecipe, GpuSupport, ModelSource, UsesGpus
from atoll.config.signature import ModelSignature
from atoll.errors import MissingExtraError
from atoll.isolation.hosted_signature import signature_recipe, told
from atoll.isolation.settings import is_isolated

RunChild: TypeAlias = Callable[[ModelSource, ChildRecipe], Mapping[str, Any]]


class BackendAnswers:
    """For the models of one server. `visible_gpus` are the numbers of those that it may use; without `run_child`
    nothing is asked in a process of its own. Thread-safe.
    """

    def __init__(self, visible_gpus: tuple[int, ...] = (), run_child: RunChild | None = None):
        self.visible_gpus = visible_gpus
        self._run_child = run_child

    def signature(self, backend: Backend, source: ModelSource) -> ModelSignature | None:
        """See `Backend.signature`. A model of arrays that is to run in processes of its own is looked at in one, too:
        its framework is not imported here.
        """
        if self._run_child is None or not _arrays_elsewhere(backend, source):
            return backend.signature(source)
        return told(self._run_child(source, signature_recipe(source, backend)))

    def gpus(self, backend: Backend, source: ModelSource) -> GpuSupport:
        """Those that the model's instances can be on. What code that is handed requests does with one is the code's
        affair, and so it is in another process, where nobody has asked.
        """
        visible = self.visible_gpus
        if not visible or backend.capabilities.requests or _arrays_elsewhere(backend, source):
            return GpuSupport(visible)
        if not isinstance(backend, UsesGpus):
            return GpuSupport(missing=f"the {backend.name} backend runs on CPUs only")
        try:
            return backend.gpu_support(source, visible)
        except MissingExtraError as error:
            return GpuSupport(missing=str(error))


def _arrays_elsewhere(backend: Backend, source: ModelSource) -> bool:
    capabilities = backend.capabilities
    own_way = capabilities.requests or hasattr(backend, "child")
    return not own_way and is_isolated(source.config, capabilities.isolated)
