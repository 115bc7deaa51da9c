"""Where the responses to generate requests go: into one answer, or into a stream of server-sent events."""

import logging
from typing import TYPE_CHECKING, Final

from atoll.errors import AtollError, Code, InternalError
from atoll.frontends.http.answer import JSON, OTHER_ERRORS, STATUS_OF, Answer
from atoll.frontends.http.calling import about_exchange
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.limits import KIB, MIB
from atoll.frontends.inference.failures import tell_failure
from atoll.frontends.listening.buffering import BufferBudget, BufferShare, default_buffer_bytes
from atoll.observability.logging.extras import about
from atoll.protocol.generate_answer import encode_document, encode_error, event
from atoll.request import InferenceRequest, InferenceResponse

if TYPE_CHECKING:
    from atoll.frontends.http.endpoints.generate import GenerateEndpoints

logger = logging.getLogger(__name__)

EVENTS: Final = b"Content-Type: text/event-stream; charset=utf-8\r\n"
PIECE = 64 * KIB  # of what has waited, written at once
_NOT_ONE = (
    "generate expects model to produce exactly 1 response, use generate stream for model that generates various "
    "number of responses"
)


class OneResponse:
    """Where the response goes of a request that must have exactly one."""

    __slots__ = ("_document", "_endpoints", "_exchange", "_status", "request")

    def __init__(self, endpoints: "GenerateEndpoints", exchange: Exchange):
        self._endpoints = endpoints
        self._exchange = exchange
        self._status = 200
        self._document: bytes | None = None
        self.request: InferenceRequest | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self._endpoints.post(self._deliver, response, final)

    def withdraw(self) -> None:
        """Nobody waits for the answer any more."""
        if self.request is not None:
            self.request.cancel()

    def _deliver(self, response: InferenceResponse | None, final: bool) -> None:
        if self._exchange.gone or self.request is None:
            return
        if response is not None and self._document is None:
            self._status, self._document = _document(response, self._exchange)
        elif response is not None or (final and self._document is None):
            self._document = encode_error(_NOT_ONE)  # the status stays, as in the real server
            self.request.cancel()  # what else it would say is not wanted
            final = True
        if final:
            self.request = None
            assert self._document is not None, "what ends has a response or an error by now. This is a bug"
            headers = JSON + self._endpoints.load_metrics(self._exchange)
            self._exchange.answer(Answer(self._status, [self._document], headers))


class WaitingEvents:
    """How many bytes of events may wait to be read: by one client, and by all of an event loop's clients together."""

    def __init__(self) -> None:
        self.one = 64 * MIB
        self.together = BufferBudget(default_buffer_bytes() // 4)
        self.streams: set[EventStream] = set()  # for which events wait

    def keep(self, stream: "EventStream", size: int) -> bool:
        """Whether so many bytes may wait for this one. Where there is no room, who is furthest behind loses his stream:
        those who read nothing must not cost others theirs, who are a little slow.
        """
        self.streams.add(stream)
        while size <= self.one:
            if stream.share.reach(size):
                return True
            furthest = max(self.streams, key=lambda one: one.share.held)
            if furthest is stream:
                break
            furthest.break_off(furthest.share.held)
        return False


class EventStream:
    """Where the responses go, each as an event as soon as it comes; those for a client that reads slowly are kept."""

    __slots__ = ("_begun", "_behind", "_ending", "_endpoints", "_exchange", "_waiting", "request", "share")

    def __init__(self, endpoints: "GenerateEndpoints", exchange: Exchange):
        self._endpoints = endpoints
        self._exchange = exchange
        self._begun = False
        self._behind = False  # the client is: it is told when it has caught up
        self._waiting = bytearray()
        self.share = BufferShare(endpoints.waiting.together)
        self._ending = False  # all responses are there
        self.request: InferenceRequest | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self._endpoints.post(self._deliver, response, final)

    def withdraw(self) -> None:
        """Nobody reads the stream any more."""
        self._waiting = bytearray()
        self._nothing_waits()
        if self.request is not None:
            self.request.cancel()

    def _deliver(self, response: InferenceResponse | None, final: bool) -> None:
        exchange = self._exchange
        if exchange.gone or self.request is None:
            return
        status, document = (200, b"") if response is None else _document(response, exchange)
        if not self._begun and (final or response is not None):
            self._begun = True
            exchange.begin(status, EVENTS + self._endpoints.load_metrics(exchange))
            exchange.on_drained = self._drained
        if response is not None:
            self._write(event(document))
        if final and self.request is not None:
            self.request = None
            if self._waiting:
                self._ending = True
            else:
                exchange.end()

    def _write(self, data: bytes) -> None:
        if not self._behind:
            self._behind = not self._exchange.write(data)
            return
        waiting = self._waiting
        waiting += data
        if not self._endpoints.waiting.keep(self, len(waiting)):
            self.break_off(len(waiting))

    def break_off(self, size: int) -> None:
        """So many bytes wait for the client, which is too much."""
        exchange = self._exchange
        logger.warning(
            "a client of model '%s' is %d bytes behind what is generated for it, more than there is room for: "
            "its stream is broken off",
            exchange.head.arguments["model"],
            size,
            extra=about_exchange(exchange, self.request.id if self.request is not None else ""),
        )
        self.withdraw()
        self.request = None
        exchange.break_off()

    def _drained(self) -> None:
        self._behind = False
        waiting = self._waiting
        while waiting and not self._behind:
            piece = waiting[:PIECE]
            del waiting[:PIECE]
            self._behind = not self._exchange.write(piece)
        if not waiting:
            self._nothing_waits()
            if self._ending:
                self._exchange.end()

    def _nothing_waits(self) -> None:
        self.share.give_back()
        self._endpoints.waiting.streams.discard(self)


def _document(response: InferenceResponse, exchange: Exchange) -> tuple[int, bytes]:
    """The status that an answer has which begins with this response, and what it says."""
    error = response.error
    if error is None:
        try:
            return 200, encode_document(response)
        except AtollError as refused:
            error = refused
        except Exception:
            text = "encoding a response of model '%s' failed"
            ids = about(response.id, response.model_name, response.model_version)
            logger.exception(text, response.model_name, extra=ids)
            error = InternalError("internal error while encoding the response")
    request_id = response.id or exchange.head.request_id()
    tell_failure(error, request_id, response.model_name or exchange.head.arguments["model"], response.model_version)
    return _status_of(error), encode_error(str(error))


def _status_of(error: AtollError) -> int:
    """What a model refuses is 400 here, whatever its code, as in the real server; which knows no deadlines."""
    return STATUS_OF[error.code] if error.code is Code.DEADLINE_EXCEEDED else OTHER_ERRORS
