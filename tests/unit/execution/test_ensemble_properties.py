"""Whatever its steps do, a request of an ensemble gets one final answer, and nothing of it is left."""

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.execution.ensembles import (
    PATIENCE_S,
    Models,
    Running,
    Sender,
    Step,
    ensemble,
    finish,
    model,
    refuse,
    respond,
    step,
)

from atoll.config.model_config import ModelConfig
from atoll.errors import InternalError, UnavailableError
from atoll.request import InferenceRequest
from atoll.tensor import DataType, Tensor


@dataclass
class Graph:
    """A random ensemble. `kept`: the tensors that are its outputs; `decoupled`: which steps are."""

    config: ModelConfig
    models: list[ModelConfig]
    decoupled: list[bool]
    kept: list[str]


@st.composite
def graphs(draw: st.DrawFn, *, streams: bool) -> Graph:
    """Steps that take tensors of one decoupled step and its followers, and any that have one value."""
    origins: dict[str, int] = {"A": -1, "B": -1}  # of each tensor, the decoupled step that it comes from
    steps: list[Step] = []
    decoupled: list[bool] = []
    for number in range(draw(st.integers(1, 7))):
        origin = draw(st.sampled_from(sorted(set(origins.values()))))
        choice = [name for name, one in origins.items() if one in (-1, origin)]
        taken = draw(st.lists(st.sampled_from(choice), min_size=1, max_size=3, unique=True))
        made = [f"t{number}_{index}" for index in range(draw(st.integers(1, 2)))]
        decoupled.append(streams and draw(st.booleans()))
        for name in made:
            origins[name] = number if decoupled[-1] else max(origins[one] for one in taken)
        steps.append(
            step(
                f"m{number}",
                {f"IN{index}": name for index, name in enumerate(taken)},
                {f"OUT{index}": name for index, name in enumerate(made)},
            )
        )
    made_by_steps = {name: one for name, one in origins.items() if name not in ("A", "B")}
    origin = draw(st.sampled_from(sorted(set(made_by_steps.values()))))
    choice = [name for name, one in made_by_steps.items() if one == origin]
    kept = draw(st.lists(st.sampled_from(choice), min_size=1, unique=True))
    config = ensemble(
        steps,
        inputs=("A", "B"),
        outputs=kept,
        decoupled=any(decoupled),
        most_in_flight=draw(st.integers(0, 3)),
    )
    return Graph(config, [model(decoupled=one) for one in decoupled], decoupled, kept)


class Bench:
    """Models whose answers hypothesis chooses. Each array holds another number, which says where it comes from."""

    def __init__(self, graph: Graph, data: st.DataObject, *, harsh: bool):
        self._graph = graph
        self._data = data
        self._harsh = harsh
        self._numbers = iter(range(100, 100_000))
        self.made: set[int] = {1, 2}
        self.asked: set[tuple[Any, ...]] = set()
        self.waiting: list[InferenceRequest] = []
        self.answers: dict[int, int] = {}  # of each waiting request, how many it has given
        self.arrays: list[weakref.ref[np.ndarray[Any, Any]]] = []
        self.wrong = False

    def submit(self, request: InferenceRequest) -> None:
        values = {name: int(one.array()[0]) for name, one in request.inputs.items()}
        assert set(values.values()) <= self.made, "a step was given what nobody has made"
        key = (request.model_name, *sorted(values.items()))
        assert key not in self.asked, "a step was run twice for the same inputs"
        self.asked.add(key)
        if self._harsh and self._data.draw(st.integers(0, 9)) == 0:
            self.wrong = True
            raise UnavailableError("refused")
        self.waiting.append(request)
        self.answers[id(request)] = 0
        while request in self.waiting and self._data.draw(st.booleans()):
            self.answer(request)

    def answer(self, request: InferenceRequest, *, last: bool = False) -> None:
        """One thing that a model may do with a request that it has."""
        number = int(request.model_name[1:])
        given = self.answers[id(request)]
        fails = self._harsh and not last and self._data.draw(st.integers(0, 9)) == 0
        ends = last or not self._graph.decoupled[number] or given >= 3 or self._data.draw(st.booleans())
        if fails or ends:
            self.waiting.remove(request)
            del self.answers[id(request)]
        if fails:
            self.wrong = True
            refuse(request, InternalError("failed"))
        elif self._graph.decoupled[number] and ends and (last or self._data.draw(st.booleans())):
            finish(request)
        else:
            if not ends:
                self.answers[id(request)] += 1
            respond(request, final=ends, **{name: self.tensor() for name in request.output_names})

    def tensor(self, value: int | None = None) -> Tensor:
        value = next(self._numbers) if value is None else value
        self.made.add(value)
        array = np.array([value], np.int32)
        self.arrays.append(weakref.ref(array))
        return Tensor("", DataType.INT32, (1,), array=array)


def check(graph: Graph, data: st.DataObject, *, harsh: bool) -> None:
    bench = Bench(graph, data, harsh=harsh)
    models = Models()
    models.submit = bench.submit  # type: ignore[method-assign]
    running = Running(graph.config, models, graph.models)
    asked_for = data.draw(st.lists(st.sampled_from(graph.kept), unique=True))
    request, sender = running.submit({"A": bench.tensor(1), "B": bench.tensor(2)}, outputs=asked_for)
    for _ in range(data.draw(st.integers(0, 40))):
        if harsh and data.draw(st.integers(0, 19)) == 0:
            bench.wrong = bench.wrong or not sender.finals
            request.cancel()
        if bench.waiting:
            bench.answer(bench.waiting[data.draw(st.integers(0, len(bench.waiting) - 1))])
    while bench.waiting:
        assert not sender.finals, "it was ended while a step was running"
        bench.answer(bench.waiting[0], last=True)
    assert sender.finals == 1
    assert running.pool.in_flight() == 0
    _check_answers(graph, sender, asked_for, wrong=bench.wrong)
    found = running.statistics.snapshot()
    assert (found.success.count, found.fail.count) == ((0, 1) if bench.wrong else (1, 0))
    del request, sender.responses[:]
    assert [one for one in bench.arrays if one() is not None] == [], "something is kept"


def _check_answers(graph: Graph, sender: Sender, asked_for: Sequence[str], *, wrong: bool) -> None:
    errors = [one for one in sender.responses if one.error is not None]
    assert len(errors) == wrong
    if wrong:
        assert sender.responses[-1].error is not None
    answers = [one for one in sender.responses if one.error is None]
    for one in answers:
        assert {output.name for output in one.outputs} == set(asked_for or graph.kept)
    if not graph.config.decoupled:
        assert len(answers) == (not wrong)


@settings(max_examples=60, deadline=None)
@given(graphs(streams=False), st.data())
def test_any_graph_that_nothing_happens_to_succeeds(graph: Graph, data: st.DataObject) -> None:
    check(graph, data, harsh=False)


@settings(max_examples=60, deadline=None)
@given(graphs(streams=True), st.data())
def test_any_graph_of_decoupled_steps_that_nothing_happens_to_succeeds(graph: Graph, data: st.DataObject) -> None:
    check(graph, data, harsh=False)


@settings(max_examples=120, deadline=None)
@given(graphs(streams=True), st.data())
def test_any_graph_ends_once_whatever_happens(graph: Graph, data: st.DataObject) -> None:
    check(graph, data, harsh=True)


def test_answers_from_many_threads_at_once() -> None:
    """Four branches of ten answers each, all from threads of their own, for requests that run side by side."""
    width, count = 4, 10
    steps = [step("many", {"IN": "A"}, {"OUT": "t"})]
    steps += [step(f"b{one}", {"IN": "t"}, {"OUT": f"u{one}"}) for one in range(width)]
    steps.append(step("join", {f"IN{one}": f"u{one}" for one in range(width)}, {"OUT": "Y"}))
    config = ensemble(steps, decoupled=True, most_in_flight=3)

    def many(request: InferenceRequest) -> None:
        for number in range(count):
            respond(request, final=number == count - 1, OUT=number)

    def echo(request: InferenceRequest) -> None:
        (value,) = request.inputs.values()
        respond(request, OUT=int(value.array()[0]))

    def join(request: InferenceRequest) -> None:
        values = {int(one.array()[0]) for one in request.inputs.values()}
        assert len(values) == 1, "answers of different numbers met"
        respond(request, OUT=values.pop())

    def elsewhere(behaviour: Any) -> Any:
        return lambda request: threading.Thread(target=behaviour, args=(request,)).start()

    branches = {f"b{one}": elsewhere(echo) for one in range(width)}
    models = Models(many=elsewhere(many), join=elsewhere(join), **branches)
    known = [model(decoupled=True), *[model()] * (width + 1)]
    running = Running(config, models, known)
    senders = [running.submit()[1] for _ in range(5)]
    for sender in senders:
        sender.ended.get(timeout=PATIENCE_S)
        assert [one.error for one in sender.responses if one.error] == []
        assert [one["Y"] for one in sender.values] == [[number] for number in range(count)]
    assert running.pool.drain(2**62)
