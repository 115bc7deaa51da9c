"""The generate endpoints: one flat JSON object in; one out, or a stream of them as server-sent events."""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from atoll.errors import AtollError, Code, InternalError, InvalidArgumentError, ModelAsleepError
from atoll.frontends.access_log import facts_of
from atoll.frontends.apis import Api
from atoll.frontends.following import Following
from atoll.frontends.http.answer import JSON, OTHER_ERRORS, STATUS_OF, Answer
from atoll.frontends.http.endpoints import MODEL, MODEL_VERSION
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.limits import MIB
from atoll.frontends.http.routes import Route
from atoll.frontends.http.waking import SleepyModels
from atoll.frontends.load_metrics import load_metrics_line
from atoll.frontends.mailbox import Mailbox
from atoll.observability.log_lines import about
from atoll.protocol.generate import decode_generate
from atoll.protocol.generate_answer import encode_document, encode_error, event
from atoll.request import InferenceRequest, InferenceResponse

if TYPE_CHECKING:
    from atoll.server import Server

logger = logging.getLogger(__name__)

EVENTS: Final = b"Content-Type: text/event-stream; charset=utf-8\r\n"
_NOT_ONE = (
    "generate expects model to produce exactly 1 response, use generate stream for model that generates various "
    "number of responses"
)


class GenerateEndpoints:
    """For one event loop."""

    max_waiting = 64 * MIB
    """Bytes of events that wait for one client to read; a client further behind loses its stream."""

    def __init__(self, server: "Server", loop: AbstractEventLoop, sleepy: SleepyModels, logged: bool = False):
        """`logged`: requests stand in the access log."""
        self._server = server
        self._logged = logged
        self._sleepy = sleepy
        self._defer = loop.call_soon
        self.post = Mailbox(loop).post
        self._tracer = server.tracing
        self._following = Following(server.tracing, self.post, "HTTP")

    def routes(self) -> Sequence[Route]:
        return [
            Route("POST", model + path, endpoint, Api.INFERENCE)
            for model in (MODEL, MODEL_VERSION)
            for path, endpoint in (("/generate", self.generate), ("/generate_stream", self.generate_stream))
        ]

    def load_metrics(self, exchange: Exchange) -> bytes:
        """The header line that says how full the model's KV cache is, where the client asks for it."""
        carried = exchange.head.carried
        if carried is None or not carried.load_metrics:
            return b""
        return load_metrics_line(self._server, exchange.head.arguments["model"], carried.load_metrics)

    def generate(self, exchange: Exchange, body: memoryview) -> Answer | None:
        return self._submit(OneResponse, exchange, body)

    def generate_stream(self, exchange: Exchange, body: memoryview) -> Answer | None:
        return self._submit(EventStream, exchange, body)

    def _submit(
        self, sender_class: "type[OneResponse | EventStream]", exchange: Exchange, body: memoryview, attempt: int = 0
    ) -> Answer | None:
        """Raises AtollError. None: the answer follows, perhaps when the model has been loaded for it."""
        head = exchange.head
        name, version = head.arguments["model"], head.arguments.get("version", "")
        try:
            model = self._server.model(name, version)
            if head.content_coding not in ("", "identity"):
                raise InvalidArgumentError("Unsupported content-encoding, only 'identity' is supported.")
            decoded = decode_generate(body, model.config)
            sender = sender_class(self, exchange)
            request = InferenceRequest(
                name,
                decoded.inputs,
                sender,
                model_version=version,
                id=decoded.id,
                parameters=decoded.parameters or None,
                defer=self._defer,
            )
            if head.deadline_ns:
                request.timeline.request_start = exchange.began_ns
                request.deadline_ns = exchange.began_ns + head.deadline_ns
            sender.request = request
            exchange.on_gone = request.cancel
            if self._logged:
                exchange.facts = facts_of(request, model)
            if head.carried is not None or self._tracer.active:
                self._following.submit(model, request, head.carried, exchange.began_ns)
            else:
                model.submit(request)
        except ModelAsleepError as asleep:
            return self._sleepy.retry(asleep, partial(self._submit, sender_class), exchange, body, attempt)
        return None


class OneResponse:
    """Where the response goes of a request that must have exactly one."""

    __slots__ = ("_document", "_endpoints", "_exchange", "_status", "request")

    def __init__(self, endpoints: GenerateEndpoints, exchange: Exchange):
        self._endpoints = endpoints
        self._exchange = exchange
        self._status = 200
        self._document: bytes | None = None
        self.request: InferenceRequest | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self._endpoints.post(self._deliver, response, final)

    def _deliver(self, response: InferenceResponse | None, final: bool) -> None:
        if self._exchange.gone or self.request is None:
            return
        if response is not None and self._document is None:
            self._status, self._document = _document(response)
        elif response is not None or (final and self._document is None):
            self._document = encode_error(_NOT_ONE)  # the status stays, as in the real server
            self.request.cancel()  # what else it would say is not wanted
            final = True
        if final:
            self.request = None
            assert self._document is not None, "what ends has a response or an error by now. This is a bug"
            headers = JSON + self._endpoints.load_metrics(self._exchange)
            self._exchange.answer(Answer(self._status, [self._document], headers))


class EventStream:
    """Where the responses go, each as an event as soon as it comes; those for a client that reads slowly are kept."""

    __slots__ = ("_begun", "_endpoints", "_exchange", "_waiting", "request")

    def __init__(self, endpoints: GenerateEndpoints, exchange: Exchange):
        self._endpoints = endpoints
        self._exchange = exchange
        self._begun = False
        self._waiting: bytearray | None = None  # None: the client keeps up
        self.request: InferenceRequest | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self._endpoints.post(self._deliver, response, final)

    def _deliver(self, response: InferenceResponse | None, final: bool) -> None:
        exchange = self._exchange
        if exchange.gone or self.request is None:
            return
        status, document = (200, b"") if response is None else _document(response)
        if not self._begun and (final or response is not None):
            self._begun = True
            exchange.begin(status, EVENTS + self._endpoints.load_metrics(exchange))
            exchange.on_drained = self._drained
        if response is not None:
            self._write(event(document))
        if final and self.request is not None:
            self.request = None
            if self._waiting:
                exchange.write(self._waiting)
            exchange.end()

    def _write(self, data: bytes) -> None:
        waiting = self._waiting
        if waiting is None:
            if not self._exchange.write(data):
                self._waiting = bytearray()
            return
        waiting += data
        if len(waiting) > self._endpoints.max_waiting:
            request, self.request, self._waiting = self.request, None, None
            assert request is not None, "nothing is written once a stream has ended. This is a bug"
            logger.warning(
                "a client of model '%s' is %d bytes behind what is generated for it: its stream is broken off",
                request.model_name,
                len(waiting),
                extra=about(request.id or self._exchange.head.request_id()),
            )
            request.cancel()
            self._exchange.break_off()

    def _drained(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting and not self._exchange.write(waiting):
            self._waiting = bytearray()


def _document(response: InferenceResponse) -> tuple[int, bytes]:
    """The status that an answer has which begins with this response, and what it says."""
    error = response.error
    if error is None:
        try:
            return 200, encode_document(response)
        except AtollError as refused:
            error = refused
        except Exception:
            text = "encoding a response of model '%s' failed"
            logger.exception(text, response.model_name, extra=about(response.id))
            error = InternalError("internal error while encoding the response")
    return _status_of(error), encode_error(str(error))


def _status_of(error: AtollError) -> int:
    """What a model refuses is 400 here, whatever its code, as in the real server; which knows no deadlines."""
    return STATUS_OF[error.code] if error.code is Code.DEADLINE_EXCEEDED else OTHER_ERRORS
