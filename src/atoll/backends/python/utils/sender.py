"""`InferenceResponseSender`: how a model answers one request, with any number of responses and from any thread."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from atoll.backends.python.host import Delivery
from atoll.backends.python.utils.arguments import mismatch
from atoll.backends.python.utils.errors import TritonError, TritonModelException
from atoll.backends.python.utils.finalizing import call_apart
from atoll.backends.python.utils.response import InferenceResponse

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1

_SIGNATURE = (
    "(self: c_python_backend_utils.InferenceResponseSender, response: c_python_backend_utils.InferenceResponse = None, "
    "flags: int = 0) -> None"
)


class InferenceResponseSender:
    """Sends the responses of one request; `request.get_response_sender()` gives it.

    When it goes away before the final response was sent, the request ends with an error: nobody waits for what cannot
    come any more.
    """

    __slots__ = ("_closed", "_decoupled", "_delivery", "_lock", "_model_name", "_names", "_sent", "ended", "explain")

    ended: bool  # the request has been answered to its end
    explain: Callable[[str], str] | None  # logs that it never will be, and says where; what it returns is the error

    def __init__(self, delivery: Delivery, names: tuple[str, ...], *, decoupled: bool, model_name: str, ended: bool):
        self._delivery = delivery
        self._names = names
        self._decoupled = decoupled
        self._model_name = model_name
        self._lock = Lock()
        self._sent = False
        self._closed = ended
        self.ended = ended
        self.explain = None

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        """Send a response, or with TRITONSERVER_RESPONSE_COMPLETE_FINAL in `flags` the last one, or none and the end.

        A model that is not decoupled sends exactly one, which ends the request with or without that flag. Raises
        TypeError for anything that is no response, and TritonModelException for flags that do not exist, nothing to
        send, or anything after the end.
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
            if self._closed:
                raise TritonModelException("Unable to send response. Response sender has been closed.")
            self._closed = flags == TRITONSERVER_RESPONSE_COMPLETE_FINAL
            self._sent = True
            if not self.ended:
                self.ended = self._closed or not self._decoupled
                self._deliver(response)
                self._delivery.flush()

    def finish(self, response: InferenceResponse | None) -> bool:
        """End the request with this response, or without one; False, and nothing is sent, where it has ended."""
        with self._lock:
            self._closed = True
            if self.ended:
                return False
            self.ended = True
            self._deliver(response)
        return True

    def reschedule(self) -> bool:
        """Give the request back to the server, in the place of a final response; False where it has ended."""
        with self._lock:
            self._closed = True
            if self.ended:
                return False
            self.ended = True
            self._delivery.reschedule()
        return True

    def is_cancelled(self) -> bool:
        """Whether the client has withdrawn the request: it needs no further responses, only the end."""
        return not self.ended and self._delivery.is_cancelled()

    def _check_single(self, response: InferenceResponse | None) -> None:
        if response is not None and self._sent:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send more than one response."
            )
        if response is None and not self._sent and not self._closed:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send complete final before sending a response."
            )

    def _deliver(self, response: InferenceResponse | None) -> None:
        if response is not None and self._names:
            response = response.pruned(self._names)
        self._delivery.send(response, self.ended)

    def __del__(self) -> None:
        if getattr(self, "ended", True):
            return
        text = f"model '{self._model_name}' let go of the request without "
        if self._decoupled:
            text += "sending its final response (flags=TRITONSERVER_RESPONSE_COMPLETE_FINAL)"
        else:
            text += "a response: execute returned None for it, and nobody has sent one by its response sender"
        call_apart(_let_go, self._delivery, text, self.explain)


def _let_go(delivery: Delivery, text: str, explain: Callable[[str], str] | None) -> None:
    delivery.send(InferenceResponse([], TritonError(text if explain is None else explain(text))), True)
