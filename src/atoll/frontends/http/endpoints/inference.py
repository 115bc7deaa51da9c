"""The infer endpoint: decode, hand to the engine, and encode what it sends back, from whichever thread."""

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from atoll.errors import AtollError, Code, InternalError, ModelAsleepError, UnsupportedError
from atoll.frontends.access_log import facts_of
from atoll.frontends.apis import Api
from atoll.frontends.event_loop.mailbox import Mailbox
from atoll.frontends.http import answer as answers
from atoll.frontends.http.answer import JSON, Answer
from atoll.frontends.http.calling import about_exchange
from atoll.frontends.http.compression import SUPPORTED, deflate, inflate
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.limits import KIB
from atoll.frontends.http.receiving import NO_ROOM
from atoll.frontends.http.waking import SleepyModels
from atoll.frontends.inference.classification import send_classes
from atoll.frontends.inference.failures import tell_failure
from atoll.frontends.inference.traced_submission import TracedSubmission
from atoll.frontends.shared_memory.placing import send_by_region
from atoll.observability.logging.extras import about
from atoll.protocol.http_answer import ResponseEncoder, total_length
from atoll.protocol.http_codec import OutputForm, decode_raw
from atoll.protocol.http_memory import InferDecoder
from atoll.protocol.shared_memory import FORBIDDEN_REGIONS, NO_REGIONS, Regions
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import Buffer, Tensor

if TYPE_CHECKING:
    from atoll.server import Server

logger = logging.getLogger(__name__)

INFLATED_HERE = 4 * KIB  # compressed; deflate makes at most 1032 times that of it, some milliseconds' work
DEFLATED_HERE = 64 * KIB
LARGE_BODY = 256 * KIB  # of which the tensors count too, where they are not the body's own bytes
_DECOUPLED = "HTTP end point doesn't support models with decoupled transaction policy"


class InferEndpoint:
    """POST .../infer. Belongs to one event loop."""

    def __init__(
        self,
        server: "Server",
        loop: asyncio.AbstractEventLoop,
        max_body_size: int,
        sleepy: SleepyModels,
        logged: bool = False,
        regions: Regions | None = None,
        regions_keyed: bool = False,
    ):
        """`logged`: requests stand in the access log. `regions`: the memory that clients share; None: none.
        `regions_keyed`: who has an API key uses it only where that opens it.
        """
        self._logged = logged
        self._server = server
        self._sleepy = sleepy
        self._loop = loop
        self._defer = loop.call_soon
        self._max_body_size = max_body_size
        self._decode = InferDecoder(regions or NO_REGIONS).decode
        self._decode_alone = InferDecoder(FORBIDDEN_REGIONS).decode
        self._regions_keyed = regions_keyed
        self._encode = ResponseEncoder().encode
        self.post = Mailbox(loop).post
        self._tracer = server.tracing
        self._submission = TracedSubmission(server.tracing, self.post, "HTTP")

    def __call__(self, exchange: Exchange, body: memoryview) -> Answer | None:
        coding = exchange.head.content_coding
        if not coding or coding == "identity":
            return self._infer(exchange, body)
        if coding not in SUPPORTED:
            return answers.refusal(501, "Unsupported compression type", headers=b"Accept-Encoding: gzip, deflate\r\n")
        if len(body) <= INFLATED_HERE:
            return self._infer_larger(exchange, inflate(body, self._max_body_size))
        inflated = self._loop.run_in_executor(None, inflate, body, self._max_body_size)
        inflated.add_done_callback(partial(self._infer_inflated, exchange))
        return None

    def _infer_inflated(self, exchange: Exchange, inflated: "asyncio.Future[bytearray]") -> None:
        error = None if inflated.cancelled() else inflated.exception()
        if isinstance(error, AtollError):
            answer: Answer | None = answers.refusal_of(error)
        elif error is not None or inflated.cancelled():
            ids = about_exchange(exchange)
            logger.error("decompressing a request failed", exc_info=error, extra=ids)
            answer = answers.refusal(500, "internal error while decompressing the request")
        else:
            answer = self._infer_larger(exchange, inflated.result())
        if answer is not None:
            exchange.answer(answer)

    def _infer_larger(self, exchange: Exchange, body: bytearray) -> Answer | None:
        """Of a body that takes more room than what was sent; many of them would fill the memory."""
        if not exchange.reserve(len(body)):
            return answers.refusal(503, NO_ROOM)
        return self._infer(exchange, memoryview(body))

    def _infer(self, exchange: Exchange, body: memoryview, attempt: int = 0) -> Answer | None:
        head = exchange.head
        model_name = head.arguments["model"]
        version = head.arguments.get("version", "")
        json_length = head.json_size
        request: InferenceRequest | None = None
        if json_length < 0:
            json_length = len(body)
        elif json_length > len(body):
            return answers.refusal(
                400, f"inference header size should be in range (0, {len(body)}), got: {head.json_length}"
            )
        try:
            if json_length:
                alone = head.key is not None and self._regions_keyed and not head.key.opens(Api.SHARED_MEMORY)
                decode = self._decode_alone if alone else self._decode
                decoded = decode(body, json_length, model_name)
            else:
                decoded = decode_raw(body, self._server.model(model_name, version).config)
            if len(body) > LARGE_BODY and not exchange.reserve(_made_of(decoded.inputs.values())):
                return answers.refusal(503, NO_ROOM)
            sender = HttpSender(self, exchange, decoded.form)
            request = InferenceRequest(
                model_name,
                decoded.inputs,
                sender,
                model_version=version,
                id=decoded.id,
                output_names=decoded.output_names,
                parameters=decoded.parameters,
                priority=decoded.priority,
                timeout_us=decoded.timeout_us,
                defer=self._defer,
            )
            if head.deadline_ns:
                request.timeline.request_start = exchange.began_ns
                request.deadline_ns = exchange.began_ns + head.deadline_ns
            model = self._server.model(model_name, version)
            if model.decoupled:
                raise UnsupportedError(_DECOUPLED)
            if decoded.form.classes is not None:
                send_classes(request, decoded.form.classes, model)
            if decoded.placement is not None:
                send_by_region(request, decoded.placement, model)
            exchange.on_gone = request.cancel
            if self._logged:
                exchange.facts = facts_of(request, model)
            if head.carried is not None or self._tracer.active:
                self._submission.submit(model, request, head.carried, exchange.began_ns)
            else:
                model.submit(request)
        except AtollError as error:
            return self._refusal(error, exchange, body, attempt, request.id if request is not None else "")
        return None

    def _refusal(
        self, error: AtollError, exchange: Exchange, body: memoryview, attempt: int, request_id: str
    ) -> Answer | None:
        """The real server looks at the model before it reads the body, and labels what it then says text/plain.

        None for a model that has to be loaded first: the answer follows.
        """
        if isinstance(error, ModelAsleepError):
            return self._sleepy.retry(error, self._infer, exchange, body, attempt)
        places = exchange.head.arguments
        version = places.get("version", "")
        try:
            model = self._server.model(places["model"], version)
            version = model.version
            if model.decoupled:
                return _told(UnsupportedError(_DECOUPLED), exchange, request_id, version, plain=True)
        except ModelAsleepError:
            pass  # it is there, and would refuse this too
        except AtollError as missing:
            # in no variable: its traceback holds this frame
            return _told(missing, exchange, request_id, version, plain=True)
        return _told(error, exchange, request_id, version, plain=error.code is Code.UNAVAILABLE)

    def encode(self, response: InferenceResponse, form: OutputForm) -> tuple[list[Buffer], bytes]:
        """The body's parts and the header lines that describe them. Raises AtollError."""
        parts, json_length = self._encode(response, form)
        if json_length:
            headers = b"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: %d\r\n" % json_length
            return parts, headers
        return parts, JSON

    def compress(self, exchange: Exchange, answer: Answer, coding: str) -> None:
        """Send the answer with its body compressed, off the loop where that takes long."""
        answer.headers += b"Content-Encoding: %s\r\n" % coding.encode()
        if total_length(answer.parts) <= DEFLATED_HERE:
            answer.parts = [deflate(answer.parts, coding)]
            exchange.answer(answer)
            return
        deflated = self._loop.run_in_executor(None, deflate, answer.parts, coding)
        deflated.add_done_callback(partial(_answer_deflated, exchange, answer))


def _made_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of the arrays that numbers and texts in JSON have become: up to eight for each of two characters."""
    return sum(one.array().nbytes for one in tensors if one.buffer is None)


def _told(error: AtollError, exchange: Exchange, request_id: str, version: str, *, plain: bool) -> Answer:
    head = exchange.head
    tell_failure(error, request_id or head.request_id(), head.arguments["model"], version)
    return answers.refusal_of(error, plain=plain)


def _answer_deflated(exchange: Exchange, answer: Answer, deflated: "asyncio.Future[bytes]") -> None:
    if deflated.cancelled() or deflated.exception() is not None:
        error = None if deflated.cancelled() else deflated.exception()
        logger.error("compressing a response failed", exc_info=error, extra=about_exchange(exchange))
        answer = answers.refusal(500, "internal error while compressing the response")
    else:
        answer.parts = [deflated.result()]
    exchange.answer(answer)


class HttpSender:
    """Where one request's response goes: HTTP carries exactly one."""

    __slots__ = ("_endpoint", "_exchange", "_form", "_response")

    def __init__(self, endpoint: InferEndpoint, exchange: Exchange, form: OutputForm):
        self._endpoint = endpoint
        self._exchange = exchange
        self._form = form
        self._response: InferenceResponse | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self._endpoint.post(self._deliver, response, final)

    def _deliver(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            if self._response is not None:
                text = "HTTP end point doesn't support models that send more than one response; use gRPC streaming"
                response = InferenceResponse("", "", error=InternalError(text))
            self._response = response
        if not final:
            return
        response = self._response
        exchange = self._exchange
        if exchange.gone:
            return
        if response is None:
            response = InferenceResponse("", "", error=InternalError("the model ended the request without a response"))
        if response.error is not None:
            name = response.model_name or exchange.head.arguments["model"]
            tell_failure(response.error, response.id or exchange.head.request_id(), name, response.model_version)
            exchange.answer(answers.refusal_of(response.error, plain=True))
            return
        try:
            parts, headers = self._endpoint.encode(response, self._form)
        except AtollError as error:
            exchange.answer(answers.refusal_of(error, plain=True))
            return
        except Exception:
            request_id = response.id or exchange.head.request_id()
            ids = about(request_id, response.model_name, response.model_version)
            logger.exception("encoding a response of model '%s' failed", response.model_name, extra=ids)
            exchange.answer(answers.refusal(500, "internal error while encoding the response"))
            return
        answer = Answer(200, parts, headers)
        coding = exchange.head.accept_coding
        if coding:
            self._endpoint.compress(exchange, answer, coding)
        else:
            exchange.answer(answer)
