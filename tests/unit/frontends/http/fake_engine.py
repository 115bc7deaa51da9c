"""An engine that keeps the contract of `atoll.server.Server` towards frontends: models that echo, wait or fail."""

import threading
from types import SimpleNamespace
from typing import Any

from tests.unit.frontends.fake_repository import FakeRepository

from atoll.config.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.errors import InternalError, InvalidArgumentError, NotFoundError, UnavailableError
from atoll.models.events import ModelEvents
from atoll.models.index import IndexEntry
from atoll.observability.metrics.custom import CustomMetrics
from atoll.observability.statistics.model import ModelStatistics
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor


class FakeModel:
    """What the metrics ask of a model."""

    def __init__(self, recorder: StatisticsRecorder):
        self.recorder = recorder

    def statistics(self) -> ModelStatistics:
        return self.recorder.snapshot()

    def pending(self) -> int:
        return 0

    def in_flight(self) -> int:
        return 0


class FakeServer(FakeRepository):
    """`echo` answers at once with its inputs, `thread` from another thread, `wait` on `release`; `fail` fails."""

    names = ("echo", "fail", "thread", "wait")
    decoupled: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[InferenceRequest] = []
        self.is_ready = True
        self.stopping = False
        self.arrived = threading.Event()
        self.custom_metrics = CustomMetrics()
        self.memory_pool = SimpleNamespace(total_bytes=0, used_bytes=0)
        self.response_cache = None
        self.options = SimpleNamespace(metrics_config=())
        self.counted = [FakeModel(StatisticsRecorder(name, "1")) for name in self.names]

    def submit(self, request: InferenceRequest) -> None:
        self.model(request.model_name, request.model_version)
        if self.stopping:
            raise UnavailableError(
                "Server is stopping, scheduler for model has stopped accepting new inference requests"
            )
        if "BAD" in request.inputs:
            raise InvalidArgumentError(f"unexpected inference input 'BAD' for model '{request.model_name}'")
        self.requests.append(request)
        if request.model_name == "wait":
            self.arrived.set()
        elif request.model_name == "thread":
            threading.Thread(target=self.release, args=(request,)).start()
        else:
            assert request.defer is not None
            request.defer(lambda: self.release(request))

    def release(self, request: InferenceRequest) -> None:
        response = InferenceResponse(request.model_name, "1", request.id)
        if request.model_name == "fail":
            response.error = InternalError("told to fail")
        else:
            names = request.output_names or tuple(request.inputs)
            response.outputs = [
                Tensor(name, one.datatype, one.shape, buffer=bytes(one.packed()))
                for name, one in request.inputs.items()
                if name in names
            ]
        request.sender.send(response, True)

    def model(self, name: str, version: str = "") -> Any:
        self.demand_awake(name)
        if name not in self.names:
            raise NotFoundError(f"Request for unknown model: '{name}' is not found")
        if version not in ("", "1"):
            raise NotFoundError(f"Request for unknown model: '{name}' version {version} is not found")
        spec = {"name": "IN", "data_type": DataType.FP32, "dims": (-1,)}
        config = ModelConfig(
            name=name, backend="fake", max_batch_size=4, input=(ModelInput(**spec),), output=(ModelOutput(**spec),)
        )
        return SimpleNamespace(
            name=name, version="1", config=config, decoupled=name in self.decoupled, submit=self.submit
        )

    def live(self) -> bool:
        return True

    def ready(self) -> bool:
        return self.is_ready

    def asks_model_when_ready(self, name: str, version: str = "") -> bool:
        return False

    def model_ready(self, name: str, version: str = "") -> bool:
        self.model(name, version)
        return self.is_ready

    def metadata(self) -> ServerMetadata:
        return ServerMetadata("atoll", "1.2.3", ("binary_tensor_data", "statistics"))

    def model_metadata(self, name: str, version: str = "") -> ModelMetadata:
        self.model(name, version)
        tensor = TensorMetadata("IN", DataType.FP32, (-1, -1))
        return ModelMetadata(name, ("1",), "fake", (tensor,), (tensor,))

    def statistics(self, name: str = "", version: str = "") -> list[ModelStatistics]:
        if name and name not in self.names:
            raise InvalidArgumentError(f"requested model '{name}' is not available")
        return [ModelStatistics(one, "1") for one in ([name] if name else self.names)]

    def models(self) -> list[FakeModel]:
        return self.counted

    def model_states(self) -> list[IndexEntry]:
        return [IndexEntry(name, "1", "READY") for name in self.names]

    def model_events(self) -> list[ModelEvents]:
        return [ModelEvents(name, loads=1) for name in self.names]

    def model_memory(self, name: str = "") -> dict[tuple[str, str], int]:
        return {}

    def recent_model_memory(self, name: str = "") -> dict[tuple[str, str], int]:
        return {}
