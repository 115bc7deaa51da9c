"""An ensemble over models that do as the test says: its pool, and what its steps were asked."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic_ns

import numpy as np

from atoll.config.model_config import (
    ModelConfig,
    ModelEnsembling,
    ModelInput,
    ModelOutput,
    ModelParameter,
    ModelTransactionPolicy,
)
from atoll.errors import AtollError
from atoll.execution.ensembles.pool import EnsemblePool
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import Defer, InferenceRequest, InferenceResponse, Parameter
from atoll.scheduling.ensembles.graph import build_graph
from atoll.tensor import DataType, Tensor

SECOND_NS = 1_000_000_000
PATIENCE_S = 30

Step = ModelEnsembling.Step
Behaviour = Callable[[InferenceRequest], None]


def step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str], version: int = -1) -> Step:
    return Step(model_name=model, model_version=version, input_map=dict(inputs), output_map=dict(outputs))


def ensemble(
    steps: Sequence[Step],
    inputs: Sequence[str] = ("A",),
    outputs: Sequence[str] = ("Y",),
    *,
    optional: Sequence[str] = (),
    decoupled: bool = False,
    parameters: Mapping[str, str] | None = None,
    most_in_flight: int = 0,
    max_batch_size: int = 0,
) -> ModelConfig:
    return ModelConfig(
        name="e",
        platform="ensemble",
        max_batch_size=max_batch_size,
        input=tuple(
            ModelInput(name=name, data_type=DataType.INT32, dims=(-1,), optional=name in optional) for name in inputs
        ),
        output=tuple(ModelOutput(name=name, data_type=DataType.INT32, dims=(-1,)) for name in outputs),
        ensemble_scheduling=ModelEnsembling(step=tuple(steps), max_inflight_requests=most_in_flight),
        model_transaction_policy=ModelTransactionPolicy(decoupled=True) if decoupled else None,
        parameters={key: ModelParameter(string_value=value) for key, value in (parameters or {}).items()},
    )


def model(
    inputs: Sequence[str] = ("IN",),
    *,
    optional: Sequence[str] = (),
    decoupled: bool = False,
    max_batch_size: int = 0,
    name: str = "m",
) -> ModelConfig:
    """The configuration of a step's model."""
    return ModelConfig(
        name=name,
        max_batch_size=max_batch_size,
        input=tuple(
            ModelInput(name=one, data_type=DataType.INT32, dims=(-1,), optional=one in optional) for one in inputs
        ),
        model_transaction_policy=ModelTransactionPolicy(decoupled=True) if decoupled else None,
    )


def tensor(value: int | Sequence[int], name: str = "") -> Tensor:
    array = np.atleast_1d(np.array(value, np.int32))
    return Tensor(name, DataType.INT32, array.shape, array=array)


def numbers(response: InferenceResponse) -> dict[str, list[int]]:
    return {one.name: one.array().tolist() for one in response.outputs}


def respond(
    request: InferenceRequest,
    final: bool = True,
    parameters: dict[str, Parameter] | None = None,
    **outputs: int | Sequence[int] | Tensor,
) -> None:
    """Answer a step's request with these outputs."""
    made = [one.renamed(name) if isinstance(one, Tensor) else tensor(one, name) for name, one in outputs.items()]
    request.sender.send(InferenceResponse(request.model_name, "1", request.id, made, parameters), final)


def refuse(request: InferenceRequest, error: AtollError) -> None:
    request.sender.send(InferenceResponse(request.model_name, "1", request.id, error=error), True)


def finish(request: InferenceRequest) -> None:
    """No further answer."""
    request.sender.send(None, True)


def increment(request: InferenceRequest) -> None:
    """OUT = IN + 1, at once."""
    respond(request, OUT=(request.inputs["IN"].array() + 1).tolist())


@dataclass
class Sender:
    """Collects what the ensemble's request is answered with; what comes after the end is a failure."""

    responses: list[InferenceResponse] = field(default_factory=list)
    finals: int = 0
    ended: "queue.Queue[None]" = field(default_factory=queue.Queue)

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        assert not self.finals, "an answer after the final one"
        if response is not None:
            self.responses.append(response)
        if final:
            self.finals += 1
            self.ended.put(None)

    @property
    def error(self) -> str:
        return str(self.responses[-1].error)

    @property
    def values(self) -> list[dict[str, list[int]]]:
        return [numbers(one) for one in self.responses]


class Models:
    """The engine: models by name, each with what it does with a request. Those without are answered by the test."""

    def __init__(self, **behaviours: Behaviour):
        self.behaviours = behaviours
        self.asked: list[InferenceRequest] = []
        self.lock = threading.Lock()

    def submit(self, request: InferenceRequest) -> None:
        with self.lock:
            self.asked.append(request)
        behaviour = self.behaviours.get(request.model_name)
        if behaviour is not None:
            behaviour(request)

    def waiting(self, model_name: str) -> InferenceRequest:
        """The latest request to this model."""
        return next(one for one in reversed(self.asked) if one.model_name == model_name)

    @property
    def names(self) -> list[str]:
        return [one.model_name for one in self.asked]


class Running:
    """A pool that accepts requests."""

    def __init__(self, config: ModelConfig, models: Models, known: Sequence[ModelConfig | None] = ()):
        self.statistics = StatisticsRecorder("e", "1")
        graph = build_graph(config, known)
        self.pool = EnsemblePool(config, "1", graph, self.statistics, models.submit)
        self.pool.start()

    def submit(
        self,
        inputs: Mapping[str, int | Sequence[int] | Tensor] | None = None,
        *,
        outputs: Sequence[str] = (),
        parameters: dict[str, Parameter] | None = None,
        defer: Defer | None = None,
        **attributes: object,
    ) -> tuple[InferenceRequest, Sender]:
        sender = Sender()
        request = InferenceRequest(
            "e",
            {
                name: one.renamed(name) if isinstance(one, Tensor) else tensor(one, name)
                for name, one in ({"A": 1} if inputs is None else inputs).items()
            },
            sender,
            id="7",
            output_names=tuple(outputs),
            parameters=parameters,
            defer=defer,
        )
        for name, value in attributes.items():
            setattr(request, name, value)
        request.timeline.request_start = monotonic_ns()
        self.pool.submit(request)
        return request, sender

    def stop(self, patience_ns: int = 0) -> bool:
        return self.pool.stop(monotonic_ns() + patience_ns)
