"""Requests of the engine's own for the slots of a batch that have nothing to execute. Pure."""

from collections.abc import Mapping

import numpy as np

from atoll.request import QUEUED, InferenceRequest, InferenceResponse
from atoll.scheduling.sequences.sequence import ABSENT
from atoll.tensor import DataType, Tensor


class Fillers:
    """Makes them, and keeps them: those of one batch are free again when it has been executed, and the next batches
    are mostly of the same shapes.
    """

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._inputs: dict[str, Tensor] = {}
        self._made: list[InferenceRequest] = []

    def like(self, request: InferenceRequest) -> InferenceRequest:
        """A request that can be joined with this one, of zeros; nobody hears its answer."""
        return self.several(request, 1)[0]

    def several(self, request: InferenceRequest, count: int) -> list[InferenceRequest]:
        """So many of them."""
        shapes = {name: tensor.shape for name, tensor in request.inputs.items()}
        if self._shapes != shapes:  # of ragged inputs, and padded ones, they differ between those that run together
            self._inputs = {name: _zeros(tensor) for name, tensor in request.inputs.items()}
            self._shapes = shapes
            self._made = []
        made = self._made
        while len(made) < count:
            made.append(filler_beside(request, self._inputs))
        return made[:count]


def filler_beside(request: InferenceRequest, inputs: Mapping[str, Tensor]) -> InferenceRequest:
    """One for another slot of the request's batch, with these inputs."""
    filler = InferenceRequest(
        request.model_name, dict(inputs), _NOBODY, output_names=request.output_names, defer=request.defer
    )
    filler.filler = True
    filler.step = ABSENT
    filler.batch_key = request.batch_key
    filler.timeline.request_start = filler.timeline.queue_start = request.timeline.queue_start
    filler.move(QUEUED)
    return filler


def _zeros(tensor: Tensor) -> Tensor:
    if tensor.datatype is DataType.BYTES:
        array = np.full(tensor.shape, b"", np.object_)
    else:
        array = np.zeros(tensor.shape, tensor.datatype.dtype)
    return Tensor(tensor.name, tensor.datatype, tensor.shape, array=array)


class _Nobody:
    """Where a filler's answer goes."""

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """As `ResponseSender.send`."""


_NOBODY = _Nobody()
