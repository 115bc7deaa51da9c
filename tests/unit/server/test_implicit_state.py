"""Sequences of ONNX models whose states and control inputs the server keeps and makes."""

import gc
import struct
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from tests.unit.server.sequence_models import (
    CONTROLS,
    STATE,
    accumulator,
    ask,
    history,
    previous_bf16,
    previous_text,
    shown_controls,
    write_sequence_model,
)

from atoll import Server
from atoll.errors import AtollError, InvalidArgumentError
from atoll.scheduling.sequences.sequence import Sequence

STRATEGIES = {"direct": "direct {}", "oldest": "oldest { max_candidate_sequences: 4 }"}
strategies = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)


@strategies
def test_a_state_goes_from_request_to_request_of_its_sequence(tmp_path: Path, strategy: str) -> None:
    write_sequence_model(tmp_path, "sum", accumulator(), f"{strategy} state [ {{ {STATE} }} ]")
    with Server(tmp_path) as server:
        first = ask(server, "sum", 1, 5, start=True)
        assert [one.name for one in first.outputs] == ["OUT"]  # the state is not for clients
        assert first["OUT"].tolist() == [[5]]
        assert ask(server, "sum", 2, 100, start=True)["OUT"].tolist() == [[100]]
        assert ask(server, "sum", 1, 2)["OUT"].tolist() == [[7]]
        assert ask(server, "sum", 2, 1, end=True)["OUT"].tolist() == [[101]]
        assert ask(server, "sum", 1, 3)["OUT"].tolist() == [[10]]
        assert ask(server, "sum", 1, 8, start=True)["OUT"].tolist() == [[8]]  # a START starts anew
        assert ask(server, "sum", 1, 1, end=True)["OUT"].tolist() == [[9]]


@strategies
def test_many_sequences_side_by_side_keep_their_states_apart(tmp_path: Path, strategy: str) -> None:
    write_sequence_model(
        tmp_path,
        "sum",
        accumulator(),
        f"{strategy} state [ {{ {STATE} }} ]",
        rest="instance_group [ { count: 2 kind: KIND_CPU } ]",
    )
    wrong: list[object] = []

    def run(number: int) -> None:
        total = 0.0
        try:
            for step in range(25):
                total += number + step
                got = ask(server, "sum", number, number + step, start=step == 0, end=step == 24)["OUT"].tolist()
                if got != [[total]]:
                    wrong.append((number, step, got, total))
        except AtollError as error:
            wrong.append(error)

    with Server(tmp_path) as server:
        threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 13)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        [counted] = server.statistics("sum")
    assert not wrong
    assert counted.inference_count == counted.success.count == 12 * 25  # empty slots count nowhere


def test_a_state_may_be_an_output_for_clients_too(tmp_path: Path) -> None:
    outputs = (
        'output [ { name: "OUT" data_type: TYPE_FP32 dims: [1] }, { name: "S_OUT" data_type: TYPE_FP32 dims: [1] } ]'
    )
    inputs = 'input [ { name: "IN" data_type: TYPE_FP32 dims: [1] } ]'
    write_sequence_model(
        tmp_path, "shown", accumulator(), f"direct {{}} state [ {{ {STATE} }} ]", rest=inputs + outputs
    )
    write_sequence_model(tmp_path, "hidden", accumulator(), f"direct {{}} state [ {{ {STATE} }} ]")
    with Server(tmp_path) as server:
        first = ask(server, "shown", 1, 5, start=True)["S_OUT"]
        assert first.tolist() == [[5]]
        if first.flags.writeable:
            first += 100  # what a caller does with its answer is no concern of the sequence
        some = ask(server, "shown", 1, 2, outputs=["OUT"])
        assert [one.name for one in some.outputs] == ["OUT"]
        assert ask(server, "shown", 1, 1, outputs=["S_OUT"])["S_OUT"].tolist() == [[8]]
        with pytest.raises(InvalidArgumentError, match="unexpected inference output 'S_OUT' for model 'hidden'"):
            ask(server, "hidden", 1, 1, start=True, outputs=["S_OUT"])
        assert [one.name for one in server.model_metadata("hidden").inputs] == ["IN"]
        assert [one.name for one in server.model_metadata("hidden").outputs] == ["OUT"]


@pytest.mark.parametrize("wall", ["thread", "process"])
@pytest.mark.slow
def test_warm_up_and_a_process_of_its_own(tmp_path: Path, wall: str) -> None:
    one = '{ key: "IN" value { data_type: TYPE_FP32 dims: [1] zero_data: true } }'
    given = '{ key: "S_IN" value { data_type: TYPE_FP32 dims: [1] random_data: true } }'
    isolation = f'parameters {{ key: "isolation" value {{ string_value: "{wall}" }} }}'
    warmup = f"""
      model_warmup [
        {{ name: "plain" batch_size: 1 inputs {one} }}, {{ name: "state" batch_size: 3 inputs [ {one}, {given} ] }}
      ]
      instance_group [ {{ count: 1 kind: KIND_CPU }} ]
    """
    state = f"oldest {{}} state [ {{ {STATE} }} ]"
    write_sequence_model(tmp_path, "sum", accumulator(), state, rest=warmup + isolation)
    text = 'input_name: "S_IN" output_name: "S_OUT" data_type: TYPE_STRING dims: [1]'
    write_sequence_model(tmp_path, "text", previous_text(), f"oldest {{}} state [ {{ {text} }} ]", rest=isolation)
    pair = {"pair": "fp32_false_true: [0, 1]", "id": "TYPE_STRING"}
    model = shown_controls(TensorProto.FLOAT, TensorProto.STRING)
    write_sequence_model(tmp_path, "controls", model, "direct {}" + CONTROLS % pair, rest=isolation)
    with Server(tmp_path) as server:
        [counted] = server.statistics("sum")
        assert counted.inference_count == 4
        assert ask(server, "sum", 1, 5, start=True)["OUT"].tolist() == [[5]]
        assert ask(server, "sum", 1, 6)["OUT"].tolist() == [[11]]
        assert ask(server, "text", 1, "one", start=True)["OUT"].tolist() == [[b""]]
        assert ask(server, "text", 1, "two")["OUT"].tolist() == [[b"one"]]
        assert ask(server, "controls", "id", 9, start=True)["ID"].tolist() == [[b"id"]]


def test_a_sample_of_another_type_than_the_state(tmp_path: Path) -> None:
    inputs = (
        '{ key: "IN" value { data_type: TYPE_FP32 dims: [1] zero_data: true } }',
        '{ key: "S_IN" value { data_type: TYPE_INT32 dims: [1] zero_data: true } }',
    )
    warmup = f'model_warmup [ {{ name: "w" batch_size: 1 inputs [ {", ".join(inputs)} ] }} ]'
    write_sequence_model(tmp_path, "sum", accumulator(), f"oldest {{}} state [ {{ {STATE} }} ]", rest=warmup)
    with Server(tmp_path, exit_on_error=False) as server:
        text = str(server.failures()["sum"])
    assert "model_warmup[0].inputs[S_IN].data_type" in text
    assert "gives the sequence's tensor 'S_IN' as TYPE_INT32" in text


def test_a_client_cannot_send_a_state_or_a_control(tmp_path: Path) -> None:
    write_sequence_model(tmp_path, "sum", accumulator(), f"direct {{}} state [ {{ {STATE} }} ]")
    value = np.ones((1, 1), np.float32)
    with Server(tmp_path) as server, pytest.raises(InvalidArgumentError, match="expected 1 inputs but got 2"):
        server.infer("sum", {"IN": value, "S_IN": value}, parameters={"sequence_id": 1, "sequence_start": True})


def test_a_first_state_from_a_file(tmp_path: Path) -> None:
    initial = 'initial_state { name: "x" data_type: TYPE_FP32 dims: [1] data_file: "start.bin" }'
    folder = write_sequence_model(tmp_path, "sum", accumulator(), f"direct {{}} state [ {{ {STATE} {initial} }} ]")
    (folder / "initial_state").mkdir()
    (folder / "initial_state" / "start.bin").write_bytes(struct.pack("<2f", 40, 1))  # only what is needed is read
    with Server(tmp_path) as server:
        assert ask(server, "sum", 1, 2, start=True)["OUT"].tolist() == [[42]]
        assert ask(server, "sum", 1, 2)["OUT"].tolist() == [[44]]
        assert ask(server, "sum", 2, 1, start=True)["OUT"].tolist() == [[41]]


@strategies
def test_states_that_grow_are_of_any_length_side_by_side(tmp_path: Path, strategy: str) -> None:
    initial = 'initial_state { name: "empty" data_type: TYPE_FP32 dims: [0] zero_data: true }'
    state = f'input_name: "S_IN" output_name: "S_OUT" data_type: TYPE_FP32 dims: [-1] {initial}'
    state += " use_growable_memory: true use_same_buffer_for_input_output: true"
    write_sequence_model(tmp_path, "history", history(), f"{strategy} state [ {{ {state} }} ]")
    wrong: list[object] = []

    def run(number: int) -> None:
        try:
            for step in range(number + 10):
                got = ask(server, "history", number, 1, start=step == 0)["OUT"].tolist()
                if got != [[step + 1]]:
                    wrong.append((number, step, got))
        except AtollError as error:
            wrong.append(error)

    with Server(tmp_path) as server:
        threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert not wrong


def test_without_a_batch_dimension(tmp_path: Path) -> None:
    write_sequence_model(
        tmp_path, "sum", accumulator(batched=False), f"direct {{}} state [ {{ {STATE} }} ]", max_batch_size=0
    )
    pair = {"pair": "int32_false_true: [0, 1]", "id": "TYPE_INT32"}
    model = shown_controls(TensorProto.INT32, TensorProto.INT32, batched=False)
    write_sequence_model(tmp_path, "controls", model, "direct {}" + CONTROLS % pair, max_batch_size=0)
    with Server(tmp_path) as server:
        assert ask(server, "sum", 1, 5, start=True, flat=True)["OUT"].tolist() == [5]
        assert ask(server, "sum", 1, 5, flat=True)["OUT"].tolist() == [10]
        got = ask(server, "controls", 77, 3, start=True, flat=True)
        assert got["SEEN"].tolist() == [3, 1, 0, 1]
        assert got["ID"].tolist() == [77]


def test_states_of_strings(tmp_path: Path) -> None:
    initial = 'initial_state { name: "x" data_type: TYPE_STRING dims: [1] data_file: "text" }'
    state = 'input_name: "S_IN" output_name: "S_OUT" data_type: TYPE_STRING dims: [1]'
    write_sequence_model(tmp_path, "blank", previous_text(), f"direct {{}} state [ {{ {state} }} ]")
    folder = write_sequence_model(tmp_path, "filed", previous_text(), f"direct {{}} state [ {{ {state} {initial} }} ]")
    (folder / "initial_state").mkdir()
    (folder / "initial_state" / "text").write_bytes(struct.pack("<I", 5) + b"hello")
    with Server(tmp_path) as server:
        assert ask(server, "blank", 1, "one", start=True)["OUT"].tolist() == [[b""]]
        assert ask(server, "blank", 1, "two")["OUT"].tolist() == [[b"one"]]
        assert ask(server, "filed", 1, "one", start=True)["OUT"].tolist() == [[b"hello"]]
        assert ask(server, "filed", 1, "two")["OUT"].tolist() == [[b"one"]]


@pytest.mark.parametrize("wall", ["thread", "process"])
def test_states_of_a_type_that_numpy_lacks(tmp_path: Path, wall: str) -> None:
    isolation = f'parameters {{ key: "isolation" value {{ string_value: "{wall}" }} }}'
    state = 'input_name: "S_IN" output_name: "S_OUT" data_type: TYPE_BF16 dims: [1]'
    write_sequence_model(tmp_path, "bf16", previous_bf16(), f"direct {{}} state [ {{ {state} }} ]", rest=isolation)
    with Server(tmp_path) as server:
        assert ask(server, "bf16", 1, 2.5, start=True)["OUT"].tolist() == [[0]]
        assert ask(server, "bf16", 2, 9, start=True)["OUT"].tolist() == [[0]]
        assert ask(server, "bf16", 1, 7)["OUT"].tolist() == [[2.5]]


PAIRS = [
    ("int32_false_true: [3, 7]", TensorProto.INT32, 3, 7),
    ("fp32_false_true: [-1, 0.5]", TensorProto.FLOAT, -1, 0.5),
    ("bool_false_true: [false, true]", TensorProto.BOOL, 0, 1),
    ("bool_false_true: [true, false]", TensorProto.BOOL, 1, 0),
]
IDS = [
    ("TYPE_UINT64", TensorProto.UINT64, 2**40 + 5, 2**40 + 5),
    ("TYPE_INT64", TensorProto.INT64, 2**64 - 1, -1),
    ("TYPE_UINT32", TensorProto.UINT32, 2**40 + 5, 5),  # the lower bits, as the real server gives them
    ("TYPE_INT32", TensorProto.INT32, 9, 9),
    ("TYPE_STRING", TensorProto.STRING, "né", "né".encode()),
    ("TYPE_STRING", TensorProto.STRING, 12, b"12"),
]


@strategies
@pytest.mark.parametrize(("pair", "id_type"), [*zip(PAIRS, IDS, strict=False), (PAIRS[0], IDS[4]), (PAIRS[1], IDS[5])])
def test_control_inputs(
    tmp_path: Path,
    strategy: str,
    pair: tuple[str, int, float, float],
    id_type: tuple[str, int, int | str, int | bytes],
) -> None:
    text, element, no, yes = pair
    name, id_element, id, seen_id = id_type
    model = shown_controls(element, id_element)
    write_sequence_model(tmp_path, "c", model, strategy + CONTROLS % {"pair": text, "id": name})
    with Server(tmp_path) as server:
        for number, start, end in [(1, True, False), (2, False, False), (3, False, True)]:
            got = ask(server, "c", id, number, start=start, end=end)
            assert got["SEEN"].tolist() == [[number, yes if start else no, yes if end else no, yes]]
            assert got["ID"].tolist() == [[seen_id]]
        other = ask(server, "c", id, 4, start=True, end=True)
        assert other["SEEN"].tolist() == [[4, yes, yes, yes]]


def test_a_string_cannot_be_the_id_of_a_model_that_takes_numbers(tmp_path: Path) -> None:
    pair = {"pair": "int32_false_true: [0, 1]", "id": "TYPE_UINT64"}
    model = shown_controls(TensorProto.INT32, TensorProto.UINT64)
    write_sequence_model(tmp_path, "c", model, "direct {}" + CONTROLS % pair)
    with Server(tmp_path) as server:
        with pytest.raises(InvalidArgumentError, match="correlation ID 'text' is a string, but control input 'CORRID'"):
            ask(server, "c", "text", 1, start=True)
        assert ask(server, "c", 5, 1, start=True)["ID"].tolist() == [[5]]


def test_an_empty_slot_is_not_ready(tmp_path: Path) -> None:
    pair = {"pair": "int32_false_true: [0, 1]", "id": "TYPE_UINT64"}
    model = shown_controls(TensorProto.INT32, TensorProto.UINT64)
    one = "instance_group [ { count: 1 kind: KIND_CPU } ]"
    write_sequence_model(tmp_path, "c", model, "direct {}" + CONTROLS % pair, rest=one)
    with Server(tmp_path) as server:
        for id in (1, 2, 3):
            ask(server, "c", id, id, start=True)
        got = ask(server, "c", 3, 9)  # in the third slot
        assert got["SEEN"].tolist() == [[9, 0, 0, 1]]
        [counted] = server.statistics("c")
    # as the real server counts: whole batches, and the requests that somebody made
    assert counted.inference_count == counted.success.count == counted.execution_count == 4
    assert [(one.batch_size, one.compute_infer.count) for one in counted.batch_stats] == [(1, 1), (2, 1), (3, 2)]


def test_the_states_of_a_sequence_go_with_it(tmp_path: Path) -> None:
    def live() -> list[Sequence]:
        gc.collect()
        return [one for one in gc.get_objects() if isinstance(one, Sequence) and one.correlation_id == 4711]

    def wait_for(gone: Callable[[], bool]) -> None:
        """Who has executed the batch lets go of it right after the answer."""
        deadline = time.monotonic() + 30
        while not gone():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    write_sequence_model(tmp_path, "sum", accumulator(), f"direct {{}} state [ {{ {STATE} }} ]")
    with Server(tmp_path) as server:
        ask(server, "sum", 4711, 1, start=True)
        first = weakref.ref(live()[0].states["S_IN"])
        assert first() is not None
        ask(server, "sum", 4711, 2)
        wait_for(lambda: first() is None)  # the next one has taken its place
        last = weakref.ref(live()[0].states["S_IN"])
        assert last() is not None
        ask(server, "sum", 4711, 3, end=True)
        wait_for(lambda: last() is None and not live())


def test_each_mismatch_with_the_model_file_is_named(tmp_path: Path) -> None:
    pair = {"pair": "fp32_false_true: [0, 1]", "id": "TYPE_INT64"}
    model = shown_controls(TensorProto.INT32, TensorProto.UINT64)
    write_sequence_model(tmp_path, "c", model, "direct {}" + (CONTROLS % pair).replace('"START"', '"STAR"'))
    state = 'input_name: "S_INN" output_name: "S_OUT" data_type: TYPE_INT32 dims: [2]'
    write_sequence_model(tmp_path, "s", accumulator(), f"direct {{}} state [ {{ {state} }} ]")
    with Server(tmp_path, exit_on_error=False) as server:
        failures = {name: str(error) for name, error in server.failures().items()}
    assert (
        "sequence_batching.control_input[0].name: configuration specified sequence control 'STAR', but model does not "
        "provide that input"
    ) in failures["c"]
    assert "Did you mean 'START'?" in failures["c"]
    for text in (
        "control_input[1]: unable to load model 'c', sequence control 'END', the model expects data-type TYPE_INT32 "
        "but the model configuration specifies data-type TYPE_FP32",
        "control_input[3]: unable to load model 'c', sequence control 'CORRID', the model expects data-type "
        "TYPE_UINT64",
    ):
        assert text in failures["c"]
    for text in (
        "state[0].input_name: configuration specified state input 'S_INN', but model does not provide that input",
        "state[0]: unable to load model 's', state output 'S_OUT', the model expects data-type TYPE_FP32",
        "state[0].dims: unable to load model 's', state output 'S_OUT': the model expects 2 dimensions (shape [-1,1])",
    ):
        assert text in failures["s"]


def test_a_file_that_is_too_short_is_told_with_its_place(tmp_path: Path) -> None:
    initial = '\ninitial_state { name: "x" data_type: TYPE_FP32 dims: [1]\ndata_file: "start.bin" }'
    folder = write_sequence_model(tmp_path, "sum", accumulator(), f"direct {{}} state [ {{ {STATE} {initial} }} ]")
    (folder / "initial_state").mkdir()
    (folder / "initial_state" / "start.bin").write_bytes(b"abc")
    with Server(tmp_path, exit_on_error=False) as server:
        text = str(server.failures()["sum"])
    assert "config.pbtxt:7:1" in text
    assert "sequence_batching.state[0].initial_state[0].data_file" in text
    assert "initial_state setting expects 4 bytes, but the data provided from start.binonly has 3 bytes." in text
