"""Between a model and the sender of a request with tensors in regions: its outputs go to where they are wanted.

That happens on the thread that has the response, so the event loop copies nothing.
"""

import logging

import numpy as np

from atoll.config.response_cache import is_cached
from atoll.errors import AtollError, InternalError
from atoll.models.model import Model
from atoll.observability.logging.extras import about
from atoll.protocol.shared_memory import PlacedResponse, Placement, too_small
from atoll.request import InferenceRequest, InferenceResponse, ResponseSender
from atoll.tensor import DataType, Tensor

logger = logging.getLogger(__name__)


def send_by_region(request: InferenceRequest, placement: Placement, model: Model) -> None:
    """Let the request's sender have responses whose placed outputs are in their regions already, and errors in place of
    those that came of regions which were cut short meanwhile.

    Where its answer may be kept for others, or that of an ensemble's step, its inputs are copied: changed after they
    were looked up, they would have others get this client's answer for theirs.
    """
    config = model.config
    if is_cached(config) or (placement.regions.caching and config.ensemble_scheduling is not None):
        placement.detach(request.inputs)
    request.sender = _PlacingSender(request.sender, placement)


class _PlacingSender:
    __slots__ = ("_placement", "_sender")

    def __init__(self, sender: ResponseSender, placement: Placement):
        self._sender = sender
        self._placement = placement

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None and response.error is None:
            response = self._placed(response)
        self._sender.send(response, final)

    def _placed(self, response: InferenceResponse) -> InferenceResponse:
        try:
            targets = self._placement.targets
            if self._placement.lent:
                response.outputs = [one if one.name in targets else self._owned(one) for one in response.outputs]
            for region in self._placement.sources:
                region.check()
            if not targets:
                return response
            written = []
            for tensor in response.outputs:
                target = targets.get(tensor.name)
                if target is None:
                    continue
                region, place = target
                needed = region.write(place.offset, tensor, place.byte_size)
                if needed > place.byte_size:
                    raise too_small(tensor.name, place.byte_size, needed)
                region.check()
                written.append(tensor.name)
            return PlacedResponse(response, written)
        except AtollError as error:
            return _failed(response, error.with_traceback(None))  # which would hold this frame, and the region with it
        except Exception as bug:
            text = "the outputs of model '%s' cannot be written to shared memory"
            ids = about(response.id, response.model_name, response.model_version)
            logger.exception(text, response.model_name, extra=ids)
            reason = f"{type(bug).__name__}: {bug}"
            return _failed(response, InternalError(f"writing the outputs to shared memory failed: {reason}"))

    def _owned(self, tensor: Tensor) -> Tensor:
        """An output that nobody takes away while a slow client reads it: a model may answer with its inputs' memory."""
        if tensor.datatype is DataType.BYTES:
            return tensor
        data = tensor.array() if tensor.buffer is None else np.frombuffer(tensor.buffer, np.uint8)
        if not any(np.may_share_memory(data, np.frombuffer(one, np.uint8)) for one in self._placement.lent):
            return tensor
        return Tensor(tensor.name, tensor.datatype, tensor.shape, buffer=bytes(tensor.packed()))


def _failed(response: InferenceResponse, error: AtollError) -> InferenceResponse:
    return InferenceResponse(response.model_name, response.model_version, response.id, error=error)
