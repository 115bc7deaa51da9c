"""The generate endpoints: one flat JSON object in; one out, or a stream of them as server-sent events."""

from asyncio import AbstractEventLoop
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from atoll.errors import AtollError, InvalidArgumentError, ModelAsleepError
from atoll.frontends.access_log import facts_of
from atoll.frontends.apis import Api
from atoll.frontends.event_loop.mailbox import Mailbox
from atoll.frontends.http.answer import Answer
from atoll.frontends.http.endpoints.documents import MODEL, MODEL_VERSION
from atoll.frontends.http.endpoints.generate_senders import EventStream, OneResponse, WaitingEvents
from atoll.frontends.http.exchange import Exchange
from atoll.frontends.http.routes import Route
from atoll.frontends.http.waking import SleepyModels
from atoll.frontends.inference.failures import tell_failure
from atoll.frontends.inference.load_metrics import load_metrics_line
from atoll.frontends.inference.traced_submission import TracedSubmission
from atoll.protocol.generate import decode_generate
from atoll.request import InferenceRequest

if TYPE_CHECKING:
    from atoll.server import Server


class GenerateEndpoints:
    """For one event loop."""

    def __init__(self, server: "Server", loop: AbstractEventLoop, sleepy: SleepyModels, logged: bool = False):
        """`logged`: requests stand in the access log."""
        self._server = server
        self._logged = logged
        self._sleepy = sleepy
        self._defer = loop.call_soon
        self.post = Mailbox(loop).post
        self.waiting = WaitingEvents()
        self._tracer = server.tracing
        self._submission = TracedSubmission(server.tracing, self.post, "HTTP")

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
        self,
        sender_class: type[OneResponse] | type[EventStream],
        exchange: Exchange,
        body: memoryview,
        attempt: int = 0,
    ) -> Answer | None:
        """Raises AtollError. None: the answer follows, perhaps when the model has been loaded for it."""
        head = exchange.head
        name, version = head.arguments["model"], head.arguments.get("version", "")
        request_id, told_version = "", version
        try:
            model = self._server.model(name, version)
            told_version = model.version
            if head.content_coding not in ("", "identity"):
                raise InvalidArgumentError("Unsupported content-encoding, only 'identity' is supported.")
            decoded = decode_generate(body, model.config)
            request_id = decoded.id
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
            exchange.on_gone = sender.withdraw
            if self._logged:
                exchange.facts = facts_of(request, model)
            if head.carried is not None or self._tracer.active:
                self._submission.submit(model, request, head.carried, exchange.began_ns)
            else:
                model.submit(request)
        except ModelAsleepError as asleep:
            return self._sleepy.retry(asleep, partial(self._submit, sender_class), exchange, body, attempt)
        except AtollError as error:
            tell_failure(error, request_id or head.request_id(), name, told_version)
            raise
        return None
