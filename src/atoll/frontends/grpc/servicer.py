"""The procedures of the gRPC service, over any transport: the table of paths, and ModelInfer."""

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from atoll.errors import AtollError, InternalError, ModelAsleepError, UnsupportedError
from atoll.frontends.access_log import Facts, facts_of, short
from atoll.frontends.context import FrontendContext
from atoll.frontends.event_loop.mailbox import Mailbox
from atoll.frontends.event_loop.waking import Waking
from atoll.frontends.grpc.logged import LoggedCall, logged_streams, logged_unary
from atoll.frontends.grpc.logged_stream import LoggedStream
from atoll.frontends.grpc.procedures import log_settings, tracing
from atoll.frontends.grpc.procedures.documents import Documents
from atoll.frontends.grpc.procedures.procedure import SERVICE
from atoll.frontends.grpc.procedures.readiness import Readiness
from atoll.frontends.grpc.procedures.repository import RepositoryCalls
from atoll.frontends.grpc.procedures.shared_memory import SharedMemoryCalls
from atoll.frontends.grpc.status import encoding_failed, grpc_error
from atoll.frontends.grpc.stream import StreamInfer, StreamLimits
from atoll.frontends.grpc.transport import (
    PENDING,
    Call,
    Compression,
    GrpcError,
    Message,
    Pending,
    StreamHandler,
    UnaryHandler,
)
from atoll.frontends.grpc.waking import call_again
from atoll.frontends.inference.classification import send_classes
from atoll.frontends.inference.failures import tell_failure
from atoll.frontends.inference.traced_submission import TracedSubmission
from atoll.frontends.shared_memory.placing import send_by_region
from atoll.protocol.grpc_codec import InferCodec
from atoll.protocol.grpc_request import build_request
from atoll.protocol.model_version import model_version
from atoll.protocol.shared_memory import FORBIDDEN_REGIONS, NO_REGIONS, Regions
from atoll.request import InferenceRequest, InferenceResponse
from atoll.server import Server

logger = logging.getLogger(__name__)


class Servicer:
    """Every procedure, for one event loop; to be made on that loop's thread.

    `unary` and `stream` are the tables by path.
    """

    def __init__(
        self,
        server: Server,
        loop: AbstractEventLoop,
        compression: Compression = Compression.NONE,
        limits: StreamLimits | None = None,
        context: FrontendContext | None = None,
    ):
        self.context = context or FrontendContext(server)
        self._server = server
        self._compression = compression
        self._codec = InferCodec()
        self._regions: Regions = self.context.regions or NO_REGIONS
        self._mailbox = Mailbox(loop)
        self._carrying = self.context.grpc_headers
        self._tracer = server.tracing
        self._submission = TracedSubmission(server.tracing, self._mailbox.post, "GRPC")
        self._defer = loop.call_soon
        self._waking = Waking(server, loop)
        self._repository = RepositoryCalls(server, loop)
        self._readiness = Readiness(server, loop)
        self._shared_memory = SharedMemoryCalls(self.context.regions, loop)
        streams = StreamInfer(
            server,
            self._codec,
            self._mailbox,
            self._waking,
            self._defer,
            compression,
            limits or StreamLimits(),
            self._regions,
            self._submission,
            self._carrying,
        )
        self.unary: Mapping[str, UnaryHandler] = {
            **Documents(server, self._waking).procedures(),
            **self._repository.procedures(),
            **self._readiness.procedures(),
            **self._shared_memory.procedures(),
            **tracing.procedures(server),
            **log_settings.procedures(),
            SERVICE + "ModelInfer": self.model_infer,
        }
        self.stream: Mapping[str, StreamHandler] = {SERVICE + "ModelStreamInfer": streams.serve}
        gate = None if self.context.access is None else self.context.access.grpc
        if gate is not None:
            self.unary = gate.unary(self.unary, self.model_infer)
            self.stream = gate.stream(self.stream, streams.serve)
        log = self.context.access_log
        self._logged = log is not None
        if log is not None:  # outside the gate: what it refuses is noted too
            streams.kind = LoggedStream
            self.unary, self.stream = logged_unary(self.unary, log), logged_streams(self.stream, log)

    def close(self) -> None:
        """The server is stopping: load and unload nothing more; what has begun goes on."""
        self._repository.close()
        self._readiness.close()
        self._shared_memory.close()

    def model_infer(
        self,
        call: Call,
        message: bytes,
        attempt: int = 0,
        permit: Callable[[str], bool] | None = None,
        regions: Regions | None = None,
    ) -> Message | Pending:
        """Hands the request to the engine; the answer comes through its sender, usually after this has returned.

        `permit` is asked first whether the model may be used; it raises AtollError where not. `regions`: where tensors
        may be, None: in all that there are.
        """
        regions = regions or self._regions
        try:
            parsed = self._codec.parse(message)
            if self._logged:
                cast(LoggedCall, call).facts = Facts(short(parsed.id), short(parsed.model_name), "", None)
            if permit is not None and not permit(parsed.model_name):
                regions = FORBIDDEN_REGIONS
            parsed.model_version = model_version(parsed.model_version)
            model = self._server.model(parsed.model_name, parsed.model_version)
            if model.decoupled:
                raise UnsupportedError("ModelInfer RPC doesn't support models with decoupled transaction policy")
            sender = UnarySender(call, self._codec, self._mailbox)
            request, parameters = build_request(parsed, sender, self._defer, regions)
            if parameters.classes is not None:
                send_classes(request, parameters.classes, model)
            if parameters.placement is not None:
                send_by_region(request, parameters.placement, model)
            if self._compression:
                call.compression = self._compression
            if self._logged:
                cast(LoggedCall, call).facts = facts_of(request, model)
            carried = self._carrying.read_metadata(call.metadata)
            if carried is not None or self._tracer.active:
                self._submission.submit(model, request, carried)
            else:
                model.submit(request)
        except AtollError as error:
            if isinstance(error, ModelAsleepError):
                again = partial(self.model_infer, call, message, attempt + 1, regions=regions)
                return call_again(self._waking, error, parsed.model_name, attempt, call, again)
            if logger.isEnabledFor(logging.DEBUG):
                self._tell(error, message)
            failure = grpc_error(error)
            if failure.trailing:
                call.set_trailing_metadata(failure.trailing)
            try:
                raise failure from None
            finally:
                del failure  # no circle: its traceback holds this frame, and that the request
        return sender.answer_or_wait(request)

    def _tell(self, error: AtollError, message: bytes) -> None:
        """The log takes details: it is worth to look at the message once more."""
        request_id = name = version = ""
        try:
            parsed = self._codec.parse(message)
            request_id, name, version = parsed.id, parsed.model_name, model_version(parsed.model_version)
            version = self._server.model(name, version).version
        except AtollError:
            pass  # as far as it can be known
        tell_failure(error, request_id, name, version)


class UnarySender:
    """Where the one response to a ModelInfer goes. All but `send` belongs to the loop's thread."""

    __slots__ = ("_answer", "_call", "_codec", "_mailbox", "_response", "_waiting")

    def __init__(self, call: Call, codec: InferCodec, mailbox: Mailbox):
        self._call = call
        self._codec = codec
        self._mailbox = mailbox
        self._response: InferenceResponse | None = None
        self._answer: Message | GrpcError | None = None
        self._waiting = False

    def answer_or_wait(self, request: InferenceRequest) -> Message | Pending:
        """What the procedure returns: the answer, if it has come already; else it will go through the call."""
        answer = self._answer
        if answer is None:
            self._waiting = True
            self._call.on_cancel(request.cancel)
            return PENDING
        if isinstance(answer, GrpcError):
            self._answer = None
            try:
                raise answer
            finally:
                del answer  # no circle: its traceback holds this frame, and that the request
        return answer

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self._mailbox.post(self._take, response, final)

    def _take(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self._response = response
        if not final:
            return
        answer = self._encoded()
        if isinstance(answer, GrpcError) and answer.trailing:
            self._call.set_trailing_metadata(answer.trailing)
        if not self._waiting:
            self._answer = answer
        elif isinstance(answer, GrpcError):
            self._call.fail(answer.code, answer.message)
        else:
            self._call.reply(answer)

    def _encoded(self) -> Message | GrpcError:
        response = self._response
        if response is None:
            return grpc_error(InternalError("the model ended the request without a response"))
        if response.error is not None:
            tell_failure(response.error, response.id, response.model_name, response.model_version)
            return grpc_error(response.error)
        try:
            return self._codec.encode(response)
        except Exception as bug:
            return grpc_error(encoding_failed(bug, response.model_name, response.model_version, response.id))
