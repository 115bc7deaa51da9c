"""Between a model and the sender of a request that asks for classes: what it is sent has them in place of the data."""

import logging
from collections.abc import Mapping

from atoll.errors import AtollError, InternalError
from atoll.models.model import Model
from atoll.observability.logging.extras import about
from atoll.protocol.classification import classify
from atoll.request import InferenceRequest, InferenceResponse, ResponseSender
from atoll.tensor import Tensor

logger = logging.getLogger(__name__)


def send_classes(request: InferenceRequest, classes: Mapping[str, int], model: Model) -> None:
    """Let the request's sender have, of the outputs in `classes`, that many classes of each item."""
    request.sender = _ClassifyingSender(request.sender, classes, model)


class _ClassifyingSender:
    __slots__ = ("_batched", "_classes", "_labels", "_sender")

    def __init__(self, sender: ResponseSender, classes: Mapping[str, int], model: Model):
        self._sender = sender
        self._classes = classes
        self._labels = model.labels
        self._batched = model.config.max_batch_size > 0

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None and response.error is None:
            response = self._classified(response)
        self._sender.send(response, final)

    def _classified(self, response: InferenceResponse) -> InferenceResponse:
        """Another response: this one may be kept, or go to others too."""
        name, version, request_id = response.model_name, response.model_version, response.id
        try:
            outputs = [self._output(tensor) for tensor in response.outputs]
        except AtollError as error:
            return InferenceResponse(name, version, request_id, error=error)
        except Exception as bug:
            ids = about(request_id, name, version)
            logger.exception("classifying the outputs of model '%s' failed", name, extra=ids)
            text = f"classifying the outputs failed: {type(bug).__name__}: {bug}"
            return InferenceResponse(name, version, request_id, error=InternalError(text))
        return InferenceResponse(name, version, request_id, outputs, response.parameters)

    def _output(self, tensor: Tensor) -> Tensor:
        count = self._classes.get(tensor.name)
        if count is None:
            return tensor
        return classify(tensor, count, self._labels.get(tensor.name, ()), self._batched)
