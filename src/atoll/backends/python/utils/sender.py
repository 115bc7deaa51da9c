"""`InferenceResponseSender`: how a model answers one request, with any number of responses and from any thread."""

from __future__ import annotations

from threading import Lock

from atoll.backends.python.host import Delivery
from atoll.backends.python.utils.errors import TritonError, TritonModelException, mismatch
from atoll.backends.python.utils.response import InferenceResponse

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1

_SIGNATURE = (
    "(self: c_python_backend_utils.InferenceResponseSender, response: c_python_backend_utils.InferenceResponse = None, "
    "flags: int = 0) -> None"
)


class InferenceResponseSender:
    """Sends the responses of one request; `request.get_response_sender()` gives it.

    It ends the request itself, with an error, when it goes away before the final response was sent: nobody waits for
    a response that cannot come any more.
    """

    __slots__ = ("_decoupled", "_delivery", "_lock", "_names", "_sent", "closed")

    def __init__(self, delivery: Delivery, names: tuple[str, ...], decoupled: bool, closed: bool = False):
        self._delivery = delivery
        self._names = names
        self._decoupled = decoupled
        self._lock = Lock()
        self._sent = 0
        self.closed = closed

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        """Send a response, or with TRITONSERVER_RESPONSE_COMPLETE_FINAL in `flags` the last one, or none and the end.

        A model that is not decoupled sends exactly one. Raises TypeError for anything that is no response, and
        TritonModelException for flags that do not exist, nothing to send, or anything after the final response.
        """
        if response is not None and not isinstance(response, InferenceResponse):
            raise mismatch(_SIGNATURE, (self, response, flags), function="send")
        if flags != 0 and flags != TRITONSERVER_RESPONSE_COMPLETE_FINAL:
            if not isinstance(flags, int) or flags < 0:
                raise mismatch(_SIGNATURE, (self, response, flags), function="send")
            raise TritonModelException("Unable to send response. Unsupported flag provided.")
        if response is None and flags == 0:
            raise TritonModelException(
                "Inference Response object must be provided when the response flags is set to zero."
            )
        with self._lock:
            if not self._decoupled:
                self._check_single(response)
            if self.closed:
                raise TritonModelException("Unable to send response. Response sender has been closed.")
            if flags:
                self.closed = True
            if response is not None:
                self._sent += 1
                if self._names:
                    response = response.pruned(self._names)
            self._delivery.send(response, self.closed)

    def _check_single(self, response: InferenceResponse | None) -> None:
        if response is not None and self._sent:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send more than one response."
            )
        if response is None and not self._sent and not self.closed:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send complete final before sending a response."
            )

    def finish(self, response: InferenceResponse | None) -> bool:
        """End the request with this response, or without one; False where it had ended before."""
        with self._lock:
            if self.closed:
                return False
            self.closed = True
            if self._sent and not self._decoupled:
                response = None  # a client that waits for one response has it
            if response is not None and self._names:
                response = response.pruned(self._names)
            self._delivery.send(response, True)
        return True

    def reschedule(self) -> bool:
        """Give the request back to the server, in the place of a final response; False where it has ended."""
        with self._lock:
            if self.closed:
                return False
            self.closed = True
            self._delivery.reschedule()
        return True

    def is_cancelled(self) -> bool:
        """Whether the client has withdrawn the request: it needs no further responses, only the end."""
        return not self.closed and self._delivery.is_cancelled()

    def __del__(self) -> None:
        if getattr(self, "closed", True):
            return
        self.finish(
            InferenceResponse(
                [],
                TritonError("the model dropped the request's response sender without sending the final response"),
            )
        )
