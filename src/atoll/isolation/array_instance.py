"""An isolated instance of a backend that takes arrays: one batch goes to the process, and its arrays come back."""

import threading
from collections.abc import Mapping, Sequence
from time import monotonic_ns

from atoll.config.model_config import ModelConfig
from atoll.config.tensor_types import input_types
from atoll.errors import AtollError, UnavailableError
from atoll.isolation.proxy import IsolatedInstance
from atoll.request import InferenceRequest, InferenceResponse, Parameter
from atoll.tensor import Array, Tensor

CLOSE_NS = 10_000_000_000  # that the process gets to end by itself


class IsolatedArrayInstance:
    """An `Instance` (backends/api.py); `execute` waits for the process."""

    def __init__(self, forwarding: IsolatedInstance, config: ModelConfig):
        self._forwarding = forwarding
        self._types = input_types(config)
        self._done = threading.Condition()
        self._waiting: InferenceRequest | None = None
        self._outputs: list[Tensor] = []
        self._error: AtollError | None = None
        self._batch = 0
        self.down_because = ""
        forwarding.open(self)

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> Mapping[str, Array]:
        """See `Instance.execute`. Raises UnavailableError while there is no process, and when it ends meanwhile."""
        tensors = {name: Tensor(name, self._types[name], array.shape, array=array) for name, array in inputs.items()}
        request = InferenceRequest("", tensors, _Nowhere(), output_names=tuple(output_names))
        with self._done:
            if self.down_because:
                raise UnavailableError(self.down_because)
            self._waiting = request
            self._batch += 1
        self._forwarding.begin(self._batch, (request,))
        self._forwarding.flush()
        with self._done:
            while self._waiting is request:
                self._done.wait()
            outputs, self._outputs = self._outputs, []
            error, self._error = self._error, None
        if error is not None:
            raise error
        return {one.name: one.array() for one in outputs}

    def close(self) -> None:
        """End the process."""
        self._forwarding.close(monotonic_ns() + CLOSE_NS)

    # ---- as Answers (backends/api.py)

    def respond(
        self,
        request: InferenceRequest,
        outputs: list[Tensor],
        *,
        parameters: dict[str, Parameter] | None = None,
        error: AtollError | None = None,
        final: bool = True,
    ) -> None:
        with self._done:
            if self._waiting is request:
                self._waiting, self._outputs, self._error = None, outputs, error
                self._done.notify_all()

    def finish(self, request: InferenceRequest) -> None:
        self.respond(request, [])

    def reschedule(self, request: InferenceRequest) -> None:
        self.respond(request, [], error=UnavailableError("an array backend cannot ask for a request again"))

    def released(self, batch: int, execution_ns: int) -> None:
        pass

    def down(self, reason: str) -> None:
        with self._done:
            self.down_because = reason
            if self._waiting is not None:
                self._waiting, self._error = None, UnavailableError(reason)
                self._done.notify_all()

    def up(self) -> None:
        with self._done:
            self.down_because = ""

    def settle(self) -> None:
        pass


class _Nowhere:
    """The sender of a request that only carries arrays."""

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        pass
