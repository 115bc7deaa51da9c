"""Controls and states joined into batches and split out of them, with sequences and batches made by hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput, ModelSequenceBatching
from atoll.errors import InternalError, InvalidArgumentError
from atoll.execution.batching.batch import plan_batches
from atoll.execution.instance import ModelInstance
from atoll.execution.sequences.initial_state import initial_states
from atoll.execution.sequences.tensors import SequenceTensors
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.request import QUEUED, InferenceRequest, InferenceResponse
from atoll.scheduling.sequences.filler import Fillers
from atoll.scheduling.sequences.sequence import ABSENT, FIRST, INNER, LAST, ONLY, Step
from atoll.scheduling.sequences.sequence import Sequence as OneSequence
from atoll.tensor import Array, DataType, Tensor
from atoll.testing.fake_backend import FakeInstance

Batching = ModelSequenceBatching
Kind = Batching.Control.Kind
Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]

STATE = Batching.State(input_name="S_IN", output_name="S_OUT", data_type=DataType.FP32, dims=(1,))
READY = Batching.ControlInput(
    name="READY", control=(Batching.Control(kind=Kind.CONTROL_SEQUENCE_READY, int32_false_true=(0, 1)),)
)
CORRID = Batching.ControlInput(
    name="ID", control=(Batching.Control(kind=Kind.CONTROL_SEQUENCE_CORRID, data_type=DataType.UINT64),)
)


def config_of(
    *states: Batching.State, controls: Sequence[Batching.ControlInput] = (), batched: bool = True, **fields: Any
) -> ModelConfig:
    batching = Batching(direct=Batching.StrategyDirect(), state=tuple(states), control_input=tuple(controls))
    return ModelConfig(
        name="m",
        max_batch_size=8 if batched else 0,
        input=(ModelInput(name="IN", data_type=DataType.FP32, dims=(1,)),),
        output=(ModelOutput(name="OUT", data_type=DataType.FP32, dims=(1,)),),
        sequence_batching=batching,
        **fields,
    )


class Sender:
    """Keeps answers; more than one final one is a mistake."""

    def __init__(self) -> None:
        self.responses: list[InferenceResponse] = []
        self.finals = 0

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self.finals += final
        if response is not None:
            self.responses.append(response)

    @property
    def out(self) -> Any:
        [response] = self.responses
        return response["OUT"].ravel().tolist()


def request_of(value: float, sequence: OneSequence | None, step: Step = INNER, *, batched: bool = True) -> Any:
    array = np.full((1, 1) if batched else (1,), value, np.float32)
    request = InferenceRequest("m", {"IN": Tensor("IN", DataType.FP32, array.shape, array=array)}, Sender())
    request.sequence = sequence
    request.step = step
    request.move(QUEUED)
    return request


class Harness:
    """An instance over a fake backend, which keeps what it is given."""

    def __init__(self, config: ModelConfig, run: Run, tmp_path: Any):
        plan = plan_batches(config)
        self.statistics = StatisticsRecorder("m", "1")
        self.tensors = SequenceTensors(config, plan, initial_states(config, tmp_path))
        self.seen: list[dict[str, Any]] = []

        def recorded(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
            self.seen.append({name: np.array(array) for name, array in inputs.items()})
            return run(inputs)

        self.instance = ModelInstance("m_0", FakeInstance(recorded), plan, "1", self.statistics, sequences=self.tensors)

    def run(self, *requests: Any) -> None:
        self.instance.run(requests, by_submitter=False)


def accumulate(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    total = inputs["IN"] + inputs["S_IN"]
    return {"OUT": total, "S_OUT": total}


def test_rows_follow_the_requests(tmp_path: Any) -> None:
    harness = Harness(config_of(STATE, controls=[READY, CORRID]), accumulate, tmp_path)
    one, two = OneSequence(5), OneSequence(6)
    first, other = request_of(1, one, FIRST), request_of(10, two, FIRST)
    filler = Fillers().like(first)
    harness.run(filler, first, other)
    assert harness.seen[0]["READY"].tolist() == [[0], [1], [1]]
    assert harness.seen[0]["READY"].dtype == np.int32
    assert harness.seen[0]["ID"].tolist() == [[0], [5], [6]]
    assert harness.seen[0]["S_IN"].tolist() == [[0], [0], [0]]
    harness.run(request_of(2, two, LAST), request_of(2, one))
    assert harness.seen[1]["S_IN"].tolist() == [[10], [1]]
    assert one.states["S_IN"].tolist() == [[3]]
    counted = harness.statistics.snapshot()
    assert (counted.inference_count, counted.success.count, counted.execution_count) == (4, 4, 2)
    assert [one.batch_size for one in counted.batch_stats] == [2, 3]


def test_a_state_holds_its_own_memory(tmp_path: Any) -> None:
    """Neither a batch's nor a client's: what a model returns may be a view of either."""

    def views(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"OUT": inputs["IN"], "S_OUT": inputs["IN"]}

    harness = Harness(config_of(STATE), views, tmp_path)
    sequences = [OneSequence(number) for number in range(1, 5)]
    requests = [request_of(number, one, FIRST) for number, one in enumerate(sequences)]
    harness.run(*requests)
    kept = [one.states["S_IN"] for one in sequences]
    assert all(array.base is None and array.nbytes == 4 for array in kept)
    alone = request_of(7, sequences[0])
    harness.run(alone)
    alone.inputs["IN"].array()[...] = 99  # the client's memory, which is its own again
    assert sequences[0].states["S_IN"].tolist() == [[7]]


@pytest.mark.parametrize("batched", [True, False])
def test_a_failed_execution_leaves_the_state(tmp_path: Any, batched: bool) -> None:
    def run(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        value = inputs["IN"].ravel()[0]
        if value == 1:
            raise InternalError("broken")
        if value == 2:
            return {"OUT": inputs["IN"], "S_OUT": inputs["IN"].astype(np.float64)}
        if value == 3:
            return {"OUT": inputs["IN"].astype(np.int32), "S_OUT": inputs["IN"]}
        if value == 4:
            return {"OUT": inputs["IN"], "S_OUT": np.zeros((*inputs["IN"].shape[:-1], 2), np.float32)}
        if value == 5:
            return {"OUT": inputs["IN"]}  # no state: none is written, and nothing fails
        return accumulate(inputs)

    harness = Harness(config_of(STATE, batched=batched), run, tmp_path)
    sequence = OneSequence(1)
    harness.run(request_of(40, sequence, FIRST, batched=batched))
    for value in (1, 2, 3, 4, 5):
        request = request_of(value, sequence, batched=batched)
        harness.run(request)
        assert (request.sender.responses[0].error is not None) == (value != 5)
        assert sequence.states["S_IN"].ravel().tolist() == [40]
    last = request_of(0, sequence, batched=batched)
    harness.run(last)
    assert last.sender.out == [40]


def test_one_with_a_wrong_value_fails_alone_and_no_state_is_written_twice(tmp_path: Any) -> None:
    def run(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        if 13 in inputs["IN"]:
            raise InvalidArgumentError("13 is no value")
        return accumulate(inputs)

    harness = Harness(config_of(STATE, controls=[READY]), run, tmp_path)
    sequences = [OneSequence(number) for number in range(1, 4)]
    harness.run(*[request_of(1, one, FIRST) for one in sequences])
    requests = [request_of(value, one) for value, one in zip((5, 13, 7), sequences, strict=True)]
    harness.run(*requests)
    assert [one.states["S_IN"].tolist() for one in sequences] == [[[6]], [[1]], [[8]]]
    assert [one.sender.finals for one in requests] == [1, 1, 1]
    assert str(requests[1].sender.responses[0].error) == "13 is no value"
    # each stayed in its slot, and the others' were empty
    assert [seen["READY"].ravel().tolist() for seen in harness.seen[2:]] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_cancelled_member_keeps_its_place(tmp_path: Any) -> None:
    harness = Harness(config_of(STATE), accumulate, tmp_path)
    sequences = [OneSequence(1), OneSequence(2)]
    requests = [request_of(value, one, FIRST) for value, one in zip((1, 2), sequences, strict=True)]
    requests[0].cancelled = True  # after it was handed out
    harness.run(*requests)
    assert harness.seen[0]["IN"].tolist() == [[1], [2]]
    assert [one.sender.finals for one in requests] == [1, 1]
    assert requests[1].sender.out == [2]


def test_warmup_states_and_controls_of_a_sample(tmp_path: Any) -> None:
    config = config_of(STATE, controls=[READY, CORRID])
    harness = Harness(config, accumulate, tmp_path)
    given = {
        "IN": Tensor("IN", DataType.FP32, (1, 1), array=np.ones((1, 1), np.float32)),
        "S_IN": Tensor("S_IN", DataType.FP32, (1, 1), array=np.full((1, 1), 6, np.float32)),
        "READY": Tensor("READY", DataType.INT32, (1, 1), array=np.zeros((1, 1), np.int32)),
        "ID": Tensor("ID", DataType.UINT64, (1, 1), array=np.full((1, 1), 12, np.uint64)),
    }
    request = InferenceRequest("m", given, Sender())
    request.move(QUEUED)
    harness.tensors.prepare(request)
    harness.run(request)
    assert {name: array.tolist() for name, array in harness.seen[0].items()} == {
        "IN": [[1]],
        "S_IN": [[6]],
        "READY": [[0]],
        "ID": [[12]],
    }
    plain = InferenceRequest("m", {"IN": given["IN"]}, Sender())
    plain.move(QUEUED)
    harness.tensors.prepare(plain)
    assert plain.step == ONLY


@settings(max_examples=60, deadline=None)
@given(data=st.data(), vary=st.booleans(), text=st.booleans())
def test_whatever_the_batches_each_sequence_sees_its_own_states(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, vary: bool, text: bool
) -> None:
    """Random sequences in random batches with empty slots: each state is what its sequence's last request left."""

    def run(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        size = len(inputs["IN"])
        grown = np.concatenate([inputs["S_IN"], inputs["IN"]], axis=1) if vary else inputs["S_IN"] + inputs["IN"]
        said = np.array([[str(one).encode()] for one in inputs["IN"].ravel()], object)
        outputs: dict[str, Array] = {"OUT": inputs["S_IN"].sum(axis=1, keepdims=True), "S_OUT": grown}
        assert all(len(array) == size for array in inputs.values())
        if text:
            outputs["OUT"] = outputs["OUT"] + (inputs["T_IN"] != b"").astype(np.float32)
            outputs["T_OUT"] = said
        return outputs

    dims = (-1,) if vary else (1,)
    initial = Batching.InitialState(name="i", data_type=DataType.FP32, dims=(0 if vary else 1,), zero_data=True)
    states = [replace(STATE, dims=dims, initial_state=(initial,))]
    if text:
        states.append(Batching.State(input_name="T_IN", output_name="T_OUT", data_type=DataType.BYTES, dims=(1,)))
    harness = Harness(config_of(*states, controls=[READY]), run, tmp_path_factory.mktemp("m"))
    sequences = [OneSequence(number) for number in range(1, 6)]
    history: dict[int, list[int]] = {one.correlation_id: [] for one in sequences if isinstance(one.correlation_id, int)}
    for _ in range(data.draw(st.integers(1, 6))):
        chosen = data.draw(st.permutations(sequences))[: data.draw(st.integers(1, 5))]
        batch: list[Any] = []
        for sequence in chosen:
            number = int(sequence.correlation_id)
            restart = bool(history[number]) and data.draw(st.booleans())
            if restart:
                sequence.states = {}
                history[number] = []
            request = request_of(data.draw(st.integers(1, 50)), sequence, INNER if history[number] else FIRST)
            if data.draw(st.booleans()):
                batch.append(Fillers().like(request))
            batch.append(request)
        harness.run(*batch)
        for request in batch:
            if request.filler:
                assert request.step is ABSENT
                continue
            past = history[int(request.sequence.correlation_id)]
            assert request.sender.finals == 1
            assert request.sender.out == [sum(past) + (1 if text and past else 0)]
            past.append(int(request.inputs["IN"].array().ravel()[0]))
    for sequence in sequences:
        past = history[int(sequence.correlation_id)]
        if past:
            assert sequence.states["S_IN"].tolist() == [past if vary else [sum(past)]]
