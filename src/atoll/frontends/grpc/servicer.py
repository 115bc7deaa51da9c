"""The procedures of the gRPC service, over any transport: the table of paths, and ModelInfer."""

from asyncio import AbstractEventLoop
from collections.abc import Mapping

from atoll.errors import AtollError, InternalError, UnsupportedError
from atoll.frontends.grpc.documents import SERVICE, Documents
from atoll.frontends.grpc.status import STATUS, grpc_error, text_of
from atoll.frontends.grpc.stream import StreamInfer, StreamLimits
from atoll.frontends.grpc.transport import (
    PENDING,
    Call,
    Compression,
    Message,
    Pending,
    StreamHandler,
    UnaryHandler,
)
from atoll.frontends.mailbox import Mailbox
from atoll.protocol.grpc_codec import InferCodec, build_request
from atoll.protocol.model_version import model_version
from atoll.request import InferenceRequest, InferenceResponse
from atoll.server import Server


class Servicer:
    """Every procedure, for one event loop; to be made on that loop's thread. `unary` and `stream` are the tables by path."""

    def __init__(
        self,
        server: Server,
        loop: AbstractEventLoop,
        compression: Compression = Compression.NONE,
        limits: StreamLimits | None = None,
    ):
        self._server = server
        self._compression = compression
        self._codec = InferCodec()
        self._mailbox = Mailbox(loop)
        self._defer = loop.call_soon
        streams = StreamInfer(server, self._codec, self._mailbox, self._defer, compression, limits or StreamLimits())
        self.unary: Mapping[str, UnaryHandler] = {
            **Documents(server).procedures(),
            SERVICE + "ModelInfer": self.model_infer,
        }
        self.stream: Mapping[str, StreamHandler] = {SERVICE + "ModelStreamInfer": streams.serve}

    def model_infer(self, call: Call, message: bytes) -> Message | Pending:
        """Hands the request to the engine; the answer comes through its sender, usually after this has returned."""
        try:
            parsed = self._codec.parse(message)
            parsed.model_version = model_version(parsed.model_version)
            if self._server.model(parsed.model_name, parsed.model_version).config.decoupled:
                raise UnsupportedError("ModelInfer RPC doesn't support models with decoupled transaction policy")
            sender = UnarySender(call, self._codec, self._mailbox)
            request, _ = build_request(parsed, sender, self._defer)
            if self._compression:
                call.compression = self._compression
            self._server.submit(request)
        except AtollError as error:
            raise grpc_error(error) from None
        if sender.answer is not None:
            return sender.answer
        sender.waits(request)
        return PENDING


class UnarySender:
    """Where the one response to a ModelInfer goes. All but `send` belongs to the loop's thread."""

    __slots__ = ("_call", "_codec", "_mailbox", "_response", "_waiting", "answer")

    def __init__(self, call: Call, codec: InferCodec, mailbox: Mailbox):
        self._call = call
        self._codec = codec
        self._mailbox = mailbox
        self._response: InferenceResponse | None = None
        self._waiting = False
        self.answer: Message | None = None
        """The answer, if it came before the procedure returned."""

    def waits(self, request: InferenceRequest) -> None:
        """The call is PENDING from here on: it is answered through the transport, and it can be withdrawn."""
        self._waiting = True
        self._call.on_cancel(request.cancel)

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self._mailbox.post(self._take, response, final)

    def _take(self, response: InferenceResponse | None, final: bool) -> None:
        if response is not None:
            self._response = response
        if not final:
            return
        response = self._response
        error = (
            response.error if response is not None else InternalError("the model ended the request without a response")
        )
        if error is None:
            ...
