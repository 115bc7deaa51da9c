"""A model of a server: what it says of itself, and inference."""

import asyncio
from typing import TYPE_CHECKING, Any

from atoll.config.json_form import to_json
from atoll.errors import InvalidArgumentError, NotFoundError, UnsupportedError
from atoll.models.model import Model as EngineModel
from atoll.protocol import documents
from atoll.request import Defer, run_at_once
from atoll.server import Server as Engine
from atoll.tritonserver.enums import MemoryType, ModelBatchFlag, ModelTxnPropertyFlag
from atoll.tritonserver.memory import parse_memory_type
from atoll.tritonserver.request import InferenceRequest, engine_request
from atoll.tritonserver.response import AsyncResponseIterator, ResponseIterator, Responses
from atoll.tritonserver.unpicklable import Unpicklable

if TYPE_CHECKING:
    from atoll.tritonserver.server import Server


class Model(Unpicklable):
    """A name and a version, -1 for the one that the model's version policy chooses. It need not be loaded, or exist.

    `state` and `reason` are those of the moment when `Server.models` was asked, elsewhere None. What it is asked when
    there is no such model raises NotFoundError.
    """

    def __init__(
        self, server: "Server", name: str, version: int = -1, state: str | None = None, reason: str | None = None
    ):
        if not isinstance(version, int):
            raise InvalidArgumentError(f"version is {version!r}, and must be a whole number, -1 for the latest")
        self._server = server
        self.name = name
        self.version = version
        self.state = state
        self.reason = reason

    # ---- what it says of itself

    def metadata(self) -> dict[str, Any]:
        """Its versions, platform, inputs and outputs."""
        return documents.model_metadata(self._engine.model_metadata(self.name, self._version))

    def config(self, config_version: int = 1) -> dict[str, Any]:
        """Its configuration, completed. Raises InvalidArgumentError for another form than 1."""
        if config_version != 1:
            raise InvalidArgumentError(
                f"model configuration version {config_version} not supported, supported versions are: 1"
            )
        return to_json(self._loaded.config)

    def statistics(self) -> dict[str, Any]:
        """What it has counted; times are in nanoseconds. Raises InvalidArgumentError where it is not loaded."""
        found = self._engine.statistics(self.name, self._version)
        return documents.statistics(found, self._engine.model_memory(self.name))

    def ready(self) -> bool:
        """Whether it takes requests; False for one that does not exist."""
        try:
            return self._engine.model_ready(self.name, self._version)
        except NotFoundError:
            return False

    def batch_properties(self) -> ModelBatchFlag:
        """Whether the first dimension of its tensors is the batch."""
        return ModelBatchFlag.FIRST_DIM if self._loaded.config.max_batch_size > 0 else ModelBatchFlag.UNKNOWN

    def transaction_properties(self) -> ModelTxnPropertyFlag:
        """How many responses a request has."""
        return ModelTxnPropertyFlag.DECOUPLED if self._loaded.decoupled else ModelTxnPropertyFlag.ONE_TO_ONE

    # ---- inference

    def create_request(self, **kwargs: Any) -> InferenceRequest:
        """A request with these fields of `InferenceRequest`."""
        return InferenceRequest(model=self, **kwargs)

    def infer(
        self, inference_request: InferenceRequest | None = None, raise_on_error: bool = True, **kwargs: Any
    ) -> ResponseIterator:
        """Send a request, or one with these fields, and iterate over its responses, waiting for each.

        Raises at once when it is refused, and later, with `raise_on_error`, in place of a response that is an error.
        """
        request = self._request(inference_request, kwargs)
        responses = ResponseIterator(request, raise_on_error)
        request.model.submit(request, responses.sender, run_at_once)
        return responses

    def async_infer(
        self, inference_request: InferenceRequest | None = None, raise_on_error: bool = True, **kwargs: Any
    ) -> AsyncResponseIterator:
        """The same for the running event loop: `async for response in model.async_infer(inputs=...)`."""
        request = self._request(inference_request, kwargs)
        loop = asyncio.get_running_loop()
        responses = AsyncResponseIterator(request, raise_on_error, loop)
        request.model.submit(request, responses.sender, loop.call_soon)
        return responses

    def submit(self, request: InferenceRequest, sender: Responses, defer: Defer) -> None:
        """Hand the request to the engine. Raises what `infer` raises at once."""
        wanted = request.output_memory_type
        if wanted is not None and parse_memory_type(wanted)[0] is MemoryType.GPU:
            raise UnsupportedError("output_memory_type: outputs are given in host memory; take them from there")
        model = self._loaded
        made = engine_request(request, model.input_specs, sender, defer)
        sender.engine_request = made
        try:
            model.submit(made)
        except BaseException:
            sender.engine_request = None
            raise

    def _request(self, given: InferenceRequest | None, fields: dict[str, Any]) -> InferenceRequest:
        if given is None:
            return InferenceRequest(model=self, **fields)
        if fields:
            raise InvalidArgumentError(f"infer: give a request, or its fields ({', '.join(fields)}), and not both")
        return given

    @property
    def _engine(self) -> Engine:
        return self._server.engine

    @property
    def _version(self) -> str:
        return "" if self.version == -1 else str(self.version)

    @property
    def _loaded(self) -> EngineModel:
        return self._engine.model(self.name, self._version)

    def __str__(self) -> str:
        return str({"name": self.name, "version": self.version, "state": self.state})

    __repr__ = __str__
