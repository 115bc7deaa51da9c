"""The gRPC frontend on either transport, over an engine whose models answer when the test says so."""

import os
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from tests.unit.frontends.fake_repository import FakeRepository
from tests.unit.frontends.loop_thread import WAIT_S, LoopThread
from tritonclient.grpc import service_pb2 as triton
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from atoll.config.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from atoll.config.model_config import ModelConfig, ModelTransactionPolicy
from atoll.config.tensors import ModelInput, ModelOutput
from atoll.errors import InvalidArgumentError, MissingExtraError, NotFoundError, UnavailableError
from atoll.frontends.access.control import AccessControl
from atoll.frontends.access_log import AccessLog
from atoll.frontends.context import FrontendContext
from atoll.frontends.grpc.choose import choose_transport
from atoll.frontends.grpc.frontend import GrpcFrontend, GrpcOptions
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.model import BatchStatistics, ModelStatistics
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor


def echo(request: InferenceRequest) -> InferenceResponse:
    outputs = [Tensor("OUT", one.datatype, one.shape, array=one.array()) for one in request.inputs.values()]
    return InferenceResponse(request.model_name, "1", request.id, outputs)


class FakeModel:
    """`held` answers nothing: the test takes its requests from `requests` and answers them."""

    def __init__(self, name: str, answer: Callable[[InferenceRequest], None] | None, decoupled: bool = False):
        self.name = name
        self.version = "1"
        self.ready = True
        self.decoupled = decoupled
        self.config = ModelConfig(
            name=name,
            max_batch_size=8,
            input=(ModelInput(name="IN", data_type=DataType.FP32, dims=(-1,)),),
            output=(ModelOutput(name="OUT", data_type=DataType.FP32, dims=(-1,)),),
            model_transaction_policy=ModelTransactionPolicy(decoupled=True) if decoupled else None,
        )
        self.answer = answer
        self.requests: queue.Queue[InferenceRequest] = queue.Queue()

    def submit(self, request: InferenceRequest) -> None:
        if "IN" not in request.inputs:
            raise InvalidArgumentError(f"[request id: {request.id or '<id_unknown>'}] wrong inputs")
        if self.answer is None:
            self.requests.put(request)
        else:
            self.answer(request)

    def next(self) -> InferenceRequest:
        return self.requests.get(timeout=WAIT_S)


class Engine(FakeRepository):
    """What a servicer sees of `atoll.server.Server`."""

    def __init__(self) -> None:
        super().__init__()
        self.models_by_name = {
            model.name: model
            for model in (
                FakeModel("at_once", lambda request: request.sender.send(echo(request), True)),
                FakeModel("soon", lambda request: request.defer(lambda: request.sender.send(echo(request), True))),
                FakeModel("thread", self._in_thread),
                FakeModel("failing", self._fail),
                FakeModel("silent", lambda request: request.sender.send(None, True)),
                FakeModel("unencodable", self._unencodable),
                FakeModel("held", None),
                FakeModel("decoupled", None, decoupled=True),
            )
        }
        self.is_ready = True

    @staticmethod
    def _in_thread(request: InferenceRequest) -> None:
        threading.Thread(target=lambda: request.sender.send(echo(request), True)).start()

    @staticmethod
    def _fail(request: InferenceRequest) -> None:
        error = UnavailableError("told to fail")
        answer = InferenceResponse(request.model_name, "1", request.id, error=error)
        request.defer(lambda: request.sender.send(answer, True))

    @staticmethod
    def _unencodable(request: InferenceRequest) -> None:
        output = Tensor("OUT", DataType.FP32, (1,), array=object())  # type: ignore[arg-type]
        answer = InferenceResponse(request.model_name, "1", request.id, [output])
        request.defer(lambda: request.sender.send(answer, True))

    def submit(self, request: InferenceRequest) -> None:
        self.model(request.model_name, request.model_version).submit(request)

    def model(self, name: str, version: str = "") -> FakeModel:
        self.demand_awake(name)
        found = self.models_by_name.get(name)
        if found is None:
            raise NotFoundError(f"Request for unknown model: '{name}' is not found")
        if version not in ("", "1"):
            raise NotFoundError(f"Request for unknown model: '{name}' version {version} is not found")
        return found

    def live(self) -> bool:
        return True

    def ready(self) -> bool:
        return self.is_ready

    def asks_model_when_ready(self, name: str, version: str = "") -> bool:
        return False

    def model_ready(self, name: str, version: str = "") -> bool:
        return self.model(name, version).ready

    def metadata(self) -> ServerMetadata:
        return ServerMetadata("atoll", "1.2.3", ("statistics",))

    def model_metadata(self, name: str, version: str = "") -> ModelMetadata:
        model = self.model(name, version)
        shape = (-1, -1)
        return ModelMetadata(
            model.name,
            ("1",),
            "test",
            (TensorMetadata("IN", DataType.FP32, shape),),
            (TensorMetadata("OUT", DataType.FP32, shape),),
        )

    def model_memory(self, name: str = "") -> dict[tuple[str, str], int]:
        return {("held", "1"): 4096}

    def recent_model_memory(self, name: str = "") -> dict[tuple[str, str], int]:
        return {("held", "1"): 4096}

    def statistics(self, name: str = "", version: str = "") -> list[ModelStatistics]:
        if name and name not in self.models_by_name:
            raise InvalidArgumentError(f"requested model '{name}' is not available")
        batch = BatchStatistics(4, Duration(1, 2), Duration(1, 3), Duration(1, 4))
        return [
            ModelStatistics(
                name=one,
                version="1",
                inference_count=4,
                execution_count=1,
                success=Duration(4, 99),
                batch_stats=(batch,),
            )
            for one in ([name] if name else self.models_by_name)
        ]


class Serving(LoopThread):
    """The frontend on its own loop and thread, and blocking clients for it."""

    def __init__(
        self, access: AccessControl | None = None, access_log: AccessLog | None = None, **options: Any
    ) -> None:
        self.engine = Engine()
        chosen = GrpcOptions(**{"port": 0, **options})
        context = FrontendContext(self.engine, access_log, access)  # type: ignore[arg-type]

        async def started() -> Callable[[], Awaitable[None]]:
            self.frontend = GrpcFrontend(self.engine, chosen, context)  # type: ignore[arg-type]
            await self.frontend.start()
            return self.frontend.stop

        super().__init__(started)
        self.port = self.frontend.addresses[0][1]
        self._channels: list[grpc.Channel] = []
        self.stub = GRPCInferenceServiceStub(self.channel())

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def channel(self) -> grpc.Channel:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.service_config", f'{{"methodConfig": [{{"name": [{{}}], "timeout": "{WAIT_S}s"}}]}}'),
        ]
        self._channels.append(grpc.insecure_channel(self.address, options=options))
        return self._channels[-1]

    def close(self) -> None:
        for channel in self._channels:
            channel.close()
        super().close()


@pytest.fixture(params=["nghttp2", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    """The name of a transport that is there."""
    if request.param == "nghttp2" and os.environ.get("ATOLL_REQUIRE_NGHTTP2") != "1":
        try:
            choose_transport("nghttp2")
        except MissingExtraError as missing:
            pytest.skip(str(missing))
    name: str = request.param
    return name


@pytest.fixture
def serve(transport: str) -> Iterator[Callable[..., Serving]]:
    """serve(**GrpcOptions) -> Serving"""
    running: list[Serving] = []

    def start(**options: Any) -> Serving:
        running.append(Serving(transport=transport, **options))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def serving(serve: Callable[..., Serving]) -> Serving:
    return serve()


@pytest.fixture
def ask() -> Callable[..., triton.ModelInferRequest]:
    """ask(model, id="", values=(1, 2)) -> a request with one FP32 input"""

    def make(model: str, id: str = "", values: Any = (1.0, 2.0)) -> triton.ModelInferRequest:
        array = np.array([values], np.float32)
        request = triton.ModelInferRequest(model_name=model, id=id)
        request.inputs.add(name="IN", datatype="FP32", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
        return request

    return make
