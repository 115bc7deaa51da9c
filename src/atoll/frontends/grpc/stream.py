"""ModelStreamInfer: any number of requests in flight in one call, answered in the order of the requests.

Only the responses of decoupled models come as they are made. What a client can make grow is bounded: the next request
is read when there is room for it, and responses that the client does not take in are kept up to a limit.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from atoll.errors import AtollError, InternalError, ModelAsleepError
from atoll.frontends.event_loop.mailbox import Mailbox
from atoll.frontends.event_loop.waking import Waiter, Waking
from atoll.frontends.grpc.status import encoding_failed, grpc_error, text_of
from atoll.frontends.grpc.stream_writer import StreamWriter
from atoll.frontends.grpc.transport import Compression, GrpcError, GrpcStatus, Message, StreamCall
from atoll.frontends.inference.carried_headers import HeaderReader
from atoll.frontends.inference.classification import send_classes
from atoll.frontends.inference.failures import tell_failure
from atoll.frontends.inference.traced_submission import TracedSubmission
from atoll.frontends.shared_memory.placing import send_by_region
from atoll.observability.logging.extras import about
from atoll.protocol.grpc_codec import InferCodec, encode_stream_end, encode_stream_error
from atoll.protocol.grpc_message import InferMessage
from atoll.protocol.grpc_request import build_request
from atoll.protocol.model_version import model_version
from atoll.protocol.shared_memory import FORBIDDEN_REGIONS, Regions
from atoll.request import Defer, InferenceRequest, InferenceResponse
from atoll.server import Server

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Of one stream. A request counts until its last response has been written; at least one is always read."""

    requests: int = 1024
    request_bytes: int = 256 << 20
    waiting_response_bytes: int = 256 << 20
    """Responses that wait for the client to read; a client further behind loses its stream (RESOURCE_EXHAUSTED)."""


class StreamInfer:
    """The procedure; one for each event loop."""

    def __init__(
        self,
        server: Server,
        codec: InferCodec,
        mailbox: Mailbox,
        waking: Waking,
        defer: Defer,
        compression: Compression,
        limits: StreamLimits,
        regions: Regions,
        submission: TracedSubmission,
        carrying: HeaderReader,
    ):
        self.server = server
        self.submission = submission
        self.carrying = carrying
        self.codec = codec
        self.mailbox = mailbox
        self.waking = waking
        self.defer = defer
        self.limits = limits
        self.regions = regions
        self._compression = compression
        self.kind: type[Stream] = Stream  # what each call becomes

    async def serve(self, call: StreamCall, permit: Callable[[str], bool] | None = None) -> None:
        """Reads requests until the client has sent its last one, and ends when all are answered.

        `permit` is asked for each request whether its model may be used; it raises AtollError where not.
        """
        if self._compression:
            call.compression = self._compression
        stream = self.kind(self, call)
        stream.permit = permit
        call.on_cancel(stream.withdraw)
        try:
            async for message in call:
                stream.accept(message)
                if stream.full:
                    await stream.room()
            await stream.finished()
        except asyncio.CancelledError:
            if stream.failure is None:
                raise
            task = asyncio.current_task()
            assert task is not None, "a coroutine runs in a task. This is a bug"
            task.uncancel()  # it was the stream itself that left off reading
        finally:
            stream.withdraw()
        if stream.failure is not None:
            raise stream.failure


class Stream:
    """One call: its requests in flight, and the responses that may not be written yet. Belongs to the loop's thread."""

    def __init__(self, service: StreamInfer, call: StreamCall):
        self.service = service
        self.failure: GrpcError | None = None
        self.permit: Callable[[str], bool] | None = None
        self._task = asyncio.current_task()
        self._carried = service.carrying.read_metadata(call.metadata)
        self._ends_at_error = any(name == "triton_grpc_error" and value == "true" for name, value in call.metadata)
        self._entries: set[Entry] = set()  # in flight
        self._request_bytes = 0
        self._order: deque[Entry] = deque()  # of those that are not decoupled
        limit = service.limits.waiting_response_bytes
        self._writer = StreamWriter(call, limit, self._report_progress, self._outrun)
        self._write = self._writer.write
        self._progress: asyncio.Future[None] | None = None

    # ---- in

    @property
    def full(self) -> bool:
        limits = self.service.limits
        return (
            len(self._entries) >= limits.requests or self._request_bytes >= limits.request_bytes or self._writer.behind
        )

    async def room(self) -> None:
        """Waits until another request may be read."""
        while self.full and self.failure is None:
            await self._next_progress()

    async def finished(self) -> None:
        """Waits until every request is answered and every response handed to the call."""
        while (self._entries or self._writer.behind) and self.failure is None:
            await self._next_progress()

    def accept(self, message: bytes) -> None:
        """Submits a request; one that is refused is answered with the error, and the stream goes on."""
        entry = Entry(self, len(message))
        try:
            parsed = self.service.codec.parse(message)
        except AtollError as error:
            raise grpc_error(error) from None
        entry.id = parsed.id
        entry.model_name = parsed.model_name
        self._submit(entry, parsed, message)

    def _submit(self, entry: "Entry", parsed: InferMessage, message: bytes, attempt: int = 0) -> None:
        service = self.service
        try:
            if self.permit is not None and not attempt and not self.permit(parsed.model_name):
                entry.regions = FORBIDDEN_REGIONS
            parsed.model_version = model_version(parsed.model_version)
            model = service.server.model(parsed.model_name, parsed.model_version)
            entry.decoupled = model.decoupled
            entry.version = model.version
            request, parameters = build_request(parsed, entry, service.defer, entry.regions)
            entry.empty_final = parameters.enable_empty_final_response
            if parameters.classes is not None:
                send_classes(request, parameters.classes, model)
            if parameters.placement is not None:
                send_by_region(request, parameters.placement, model)
            entry.request = request
            if not attempt:
                self._entries.add(entry)
                self._request_bytes += entry.size
                if not entry.decoupled:
                    self._order.append(entry)
            else:
                self._reorder(entry)
            if self._carried is not None or service.server.tracing.active:
                service.submission.submit(model, request, self._carried)
            else:
                model.submit(request)
        except AtollError as error:
            self._refused(entry, error, message, attempt)

    def _refused(self, entry: "Entry", error: AtollError, message: bytes, attempt: int) -> None:
        if entry not in self._entries:
            self._entries.add(entry)
            self._request_bytes += entry.size
            if not entry.decoupled:
                self._order.append(entry)
        if isinstance(error, ModelAsleepError):
            try:
                go_on = partial(self._go_on, entry, message, attempt + 1)
                entry.request = self.service.waking.wait(error, entry.model_name, attempt, go_on)
                return
            except AtollError as refused:
                error = refused
        self._end_with(entry, error)

    def _go_on(self, entry: "Entry", message: bytes, attempt: int, error: AtollError | None) -> None:
        """The model that the request waited for is there, or could not be loaded."""
        if error is None:
            try:
                self._submit(entry, self.service.codec.parse(message), message, attempt)
                return
            except Exception as bug:
                text = "a request that had waited for model '%s' failed"
                logger.exception(text, entry.model_name, extra=about(entry.id, entry.model_name, entry.version))
                error = InternalError(f"{type(bug).__name__}: {bug}")
        self._end_with(entry, error)

    def _end_with(self, entry: "Entry", error: AtollError) -> None:
        entry.error = error
        tell_failure(error, entry.id, entry.model_name, entry.version)
        self.put(entry, encode_stream_error(text_of(error), entry.id))
        self.end(entry)

    def _reorder(self, entry: "Entry") -> None:
        """Only now that its model is there is it known whether those behind this request have to wait for it."""
        ordered = entry in self._order
        if not entry.decoupled and not ordered:
            self._order.append(entry)
        elif entry.decoupled and ordered:
            stand_in = Entry(self, 0)
            self._order[self._order.index(entry)] = stand_in
            self._entries.add(stand_in)
            self.end(stand_in)

    # ---- out

    def put(self, entry: "Entry", message: Message) -> None:
        """One response to this request: written at once if it is its turn."""
        if entry.decoupled or entry is self._order[0]:
            self._write(message)
        else:
            entry.held.append(message)

    def end(self, entry: "Entry") -> None:
        """This request has had its last response: the next one's turn, with what it has had so far."""
        entry.ended = True
        if entry.decoupled:
            self._remove(entry)
            return
        order = self._order
        while order and order[0].ended:
            self._release(order[0])
            self._remove(order.popleft())
        if order:
            self._release(order[0])

    def _release(self, entry: "Entry") -> None:
        for message in entry.held:
            self._write(message)
        entry.held.clear()

    def _remove(self, entry: "Entry") -> None:
        self._entries.discard(entry)
        self._request_bytes -= entry.size
        self._report_progress()

    # ---- the end

    def response_error(self, error: AtollError) -> bool:
        """Whether this error of a model's ends the stream, because the client wants errors as statuses."""
        if self._ends_at_error:
            self.fail(grpc_error(error))
        return self._ends_at_error

    def fail(self, failure: GrpcError) -> None:
        """Ends the call with this status; its other requests are withdrawn."""
        if self.failure is None:
            self.failure = failure
            self.withdraw()
            if self._task is not None:
                self._task.cancel()

    def _outrun(self) -> None:
        self.fail(GrpcError(GrpcStatus.RESOURCE_EXHAUSTED, "the client does not read the stream's responses"))

    def withdraw(self) -> None:
        """Nobody reads the answers any more."""
        entries, self._entries = self._entries, set()
        for entry in entries:
            if entry.request is not None and not entry.ended:
                entry.request.cancel()
        self._writer.close()

    async def _next_progress(self) -> None:
        self._progress = asyncio.get_running_loop().create_future()
        await self._progress

    def _report_progress(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None and not progress.done():
            progress.set_result(None)


class Entry:
    """One request of a stream, and where its responses go."""

    __slots__ = (
        *("_stream", "decoupled", "empty_final", "ended", "held", "id", "model_name", "request", "size"),
        *("error", "regions", "version"),
    )

    def __init__(self, stream: Stream, size: int):
        self._stream = stream
        self.regions = stream.service.regions  # where its tensors may be
        self.size = size
        self.id = ""
        self.model_name = ""
        self.decoupled = False
        self.empty_final = False
        self.request: InferenceRequest | Waiter | None = None
        self.ended = False
        self.version = ""  # that answers
        self.error: AtollError | None = None  # the last one that it was answered with
        self.held: list[Message] = []

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self._stream.service.mailbox.post(self._take, response, final)

    def _take(self, response: InferenceResponse | None, final: bool) -> None:
        stream = self._stream
        message = self._encoded(response, final)
        if message is not None:
            stream.put(self, message)
        if final:
            stream.end(self)

    def _encoded(self, response: InferenceResponse | None, final: bool) -> Message | None:
        """None if nothing is to be sent: the model ended its responses, or the stream ends with this one."""
        if response is None:
            return encode_stream_end(self.model_name, self.id, final) if final and self.empty_final else None
        error = response.error
        if error is None:
            try:
                return self._stream.service.codec.encode_in_stream(response, final)
            except Exception as bug:
                error = encoding_failed(bug, response.model_name, response.model_version, self.id)
        self.error = error
        tell_failure(error, self.id, self.model_name, self.version)
        if self._stream.response_error(error):
            return None
        return encode_stream_end(response.model_name, self.id, final, text_of(error))
