"""Submitting a request of which more is wanted than an answer: it is traced, or its headers are for the model too."""

from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING, Literal

from atoll.frontends.inference.carried_headers import CarriedHeaders
from atoll.observability.tracing.record import Part
from atoll.observability.tracing.trace import TracedSender
from atoll.request import InferenceRequest, InferenceResponse, ResponseSender

if TYPE_CHECKING:
    from atoll.models.model import Model
    from atoll.observability.tracing.tracer import Tracer

Post = Callable[..., None]


class TracedSubmission:
    """For one event loop and protocol. `post`: of the loop's mailbox, by which responses reach the loop."""

    def __init__(self, tracer: "Tracer", post: Post, protocol: Literal["HTTP", "GRPC"]):
        self._tracer = tracer
        self._post = post
        self._protocol = protocol

    def submit(
        self, model: "Model", request: InferenceRequest, carried: CarriedHeaders | None, began_ns: int = 0
    ) -> None:
        """`model.submit`, where `carried` is something or the tracer is active. `began_ns`: when the request began to
        be read, on the monotonic clock; 0: not known.
        """
        context = None
        if carried is not None:
            carried.give(request)
            context = carried.context
        read_ns = monotonic_ns()
        part = self._tracer.begin(request, context, client=True)
        if part is not None:
            word = "RECV" if self._protocol == "HTTP" else "WAITREAD"
            part.received(f"{self._protocol}_{word}_START", began_ns or read_ns)
            part.received(f"{self._protocol}_{word}_END", read_ns)
            sender = _SendNoting(part, request.sender, self._post, self._protocol)
            request.sender = TracedSender(part, sender, ends=False)
        try:
            model.submit(request)
        except BaseException as error:
            if part is not None:
                part.refused(error)
            raise


class _SendNoting:
    """A ResponseSender before one that goes by way of the loop's mailbox: notes when that is called, and returns."""

    __slots__ = ("_end", "_part", "_post", "_sender", "_start")

    def __init__(self, part: Part, sender: ResponseSender, post: Post, protocol: str):
        self._part = part
        self._sender = sender
        self._post = post
        self._start = f"{protocol}_SEND_START"
        self._end = f"{protocol}_SEND_END"

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        """As `ResponseSender.send`."""
        if response is not None:
            self._post(self._note, self._start)
        self._sender.send(response, final)
        if response is not None:
            self._post(self._note, self._end)
        if final:
            self._post(self._part.end)

    def _note(self, name: str) -> None:
        self._part.sent(name, monotonic_ns())
