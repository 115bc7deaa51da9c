"""Requests that a model does not take: each is counted once, by the version that refused it, with its error's code."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tests.unit.models.made_model import model_of

from atoll.config.model_config import ModelConfig, ModelInput
from atoll.errors import AtollError, DeadlineExceededError, InvalidArgumentError, OverloadedError, UnavailableError
from atoll.execution.clock import Clock
from atoll.execution.deadline import Deadlines
from atoll.models.admission import Admission, model_admission, server_admission
from atoll.models.model import Model
from atoll.observability.statistics.model import ModelStatistics
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import DataType, Tensor

PATIENCE_S = 30.0


class Pool:
    """Takes what it is given, or refuses it as the test says."""

    last_used_ns = 0

    def __init__(self) -> None:
        self.taken: list[InferenceRequest] = []
        self.refuses: Callable[[], AtollError] | None = None

    def start(self) -> None: ...
    def refuse(self) -> None: ...
    def hurry(self) -> None: ...

    def pending(self) -> int:
        return 0

    def in_flight(self) -> int:
        return 0

    def submit(self, request: InferenceRequest) -> None:
        if self.refuses is not None:
            raise self.refuses()
        self.taken.append(request)


class Heard:
    def __init__(self) -> None:
        self.finals: list[AtollError | None] = []

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if final:
            self.finals.append(None if response is None else response.error)


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    yield clock
    clock.close()


def made(
    clock: Clock, *, limit_ns: int = 0, server: Admission | None = None, own: Admission | None = None
) -> tuple[Model, Pool]:
    config = ModelConfig(name="m", backend="x", input=(ModelInput(name="IN", data_type=DataType.FP32, dims=(2,)),))
    pool = Pool()
    return model_of(pool, config, Deadlines(clock, "m", "1", limit_ns), server=server, own=own), pool


def request(elements: int = 2, heard: Heard | None = None) -> InferenceRequest:
    array = np.zeros(elements, np.float32)
    inputs = {"IN": Tensor("IN", DataType.FP32, array.shape, array=array)}
    return InferenceRequest("m", inputs, heard or Heard(), id="7")


def refused(model: Model, one: InferenceRequest, error: type[AtollError]) -> ModelStatistics:
    with pytest.raises(error):
        model.submit(one)
    found = model.statistics()
    assert found.success.count == 0
    return found


def test_what_does_not_fit(clock: Clock) -> None:
    model, _ = made(clock)
    assert refused(model, request(3), InvalidArgumentError).refusals == {"INVALID_ARG": 1}


def test_what_is_too_late_when_it_comes(clock: Clock) -> None:
    model, _ = made(clock)
    late = request()
    late.deadline_ns = 1
    assert refused(model, late, DeadlineExceededError).refusals == {"DEADLINE_EXCEEDED": 1}


def test_what_the_queue_has_no_room_for(clock: Clock) -> None:
    model, pool = made(clock)
    pool.refuses = lambda: UnavailableError("full")
    found = refused(model, request(), UnavailableError)
    assert (found.refusals, found.fail.count) == ({"UNAVAILABLE": 1}, 0)


@pytest.mark.parametrize("whose", ["server", "own"])
def test_what_is_more_than_may_be_in_flight_is_a_rejected_failure(clock: Clock, whose: str) -> None:
    admission = server_admission(1) if whose == "server" else model_admission(1, "m")
    model, _ = made(clock, server=admission) if whose == "server" else made(clock, own=admission)
    model.submit(request())
    found = refused(model, request(), OverloadedError)
    assert (found.failures["REJECTED"], found.fail.count, found.refusals) == (1, 1, {})


@pytest.mark.parametrize("limited", [False, True])
def test_what_comes_to_a_server_that_stops(clock: Clock, limited: bool) -> None:
    model, pool = made(clock, server=server_admission(5) if limited else None)
    model.close_to_clients()
    assert refused(model, request(), UnavailableError).refusals == {"UNAVAILABLE": 1}
    model.accept(request())  # of another model
    assert len(pool.taken) == 1


def test_a_deadline_that_comes_while_the_pool_refuses_is_answered_and_counted_once(clock: Clock) -> None:
    heard = Heard()
    model, pool = made(clock, limit_ns=1_000_000)

    def too_late() -> AtollError:
        until = time.monotonic() + PATIENCE_S
        while not heard.finals and time.monotonic() < until:
            time.sleep(0.001)
        return UnavailableError("full")

    pool.refuses = too_late
    model.submit(request(heard=heard))
    assert [type(one) for one in heard.finals] == [DeadlineExceededError]
    assert model.statistics().refusals == {"DEADLINE_EXCEEDED": 1}


def test_what_comes_between_a_model_and_its_successor_is_the_successors(clock: Clock) -> None:
    old, old_pool = made(clock)
    new, new_pool = made(clock)
    old_pool.refuses = lambda: UnavailableError("unloading")
    old.retire(lambda _: new)
    old.submit(request())
    assert len(new_pool.taken) == 1
    new_pool.refuses = lambda: UnavailableError("full")
    with pytest.raises(UnavailableError):
        old.submit(request())
    assert (old.statistics().refusals, new.statistics().refusals) == ({}, {"UNAVAILABLE": 1})
