"""Sequences of Python models: control tensors as the real server gives them, and states, which it does not keep."""

import json
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.server.python_repository import serving
from tests.unit.server.sequence_models import CONTROLS, STATE, ask, write_sequence_model

import atoll
from atoll.errors import AtollError, UnavailableError
from atoll.request import InferenceResponse

INPUTS = 'input [ { name: "IN" data_type: TYPE_FP32 dims: [1] } ]'
SEEN = 'output [ { name: "SEEN" data_type: TYPE_STRING dims: [1] } ]'
SUM = 'output [ { name: "OUT" data_type: TYPE_FP32 dims: [1] } ]'
BOTH = 'output [ { name: "OUT" data_type: TYPE_FP32 dims: [1] }, { name: "S_OUT" data_type: TYPE_FP32 dims: [1] } ]'

SHOWING = """
import json
import numpy as np
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        seen = [
            {
                one.name(): [str(one.as_numpy().dtype), list(one.as_numpy().shape), str(one.as_numpy().ravel()[0])]
                for one in request.inputs()
            }
            for request in requests
        ]
        text = [json.dumps({"batch": seen, "place": i, "names": sorted(r.requested_output_names())})
                for i, r in enumerate(requests)]
        return [pb.InferenceResponse([pb.Tensor("SEEN", np.array([one], object).reshape(SHAPE))]) for one in text]
"""
SUMMING = """
import numpy as np
import triton_python_backend_utils as pb
def value(request, name):
    return pb.get_input_tensor_by_name(request, name).as_numpy()
class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            one = value(request, "IN")
            if one.ravel()[0] == 99:
                responses.append(pb.InferenceResponse(error=pb.TritonError("99 is refused")))
                continue
            if one.ravel()[0] == 66:
                raise ValueError("66 breaks the batch")
            total = one + value(request, "S_IN")
            state = total.astype(np.int32) if one.ravel()[0] == 33 else total
            outputs = [pb.Tensor("OUT", total)]
            if one.ravel()[0] != 11:
                outputs.append(pb.Tensor("S_OUT", state))
            responses.append(pb.InferenceResponse(outputs))
        return responses
"""
LATE = """
import os, threading, time
import triton_python_backend_utils as pb
def value(request, name):
    return pb.get_input_tensor_by_name(request, name).as_numpy()
def send(sender, total):
    time.sleep(0.02)
    if total.ravel()[0] == 66:
        os._exit(3)
    sender.send(pb.InferenceResponse([pb.Tensor("OUT", total), pb.Tensor("S_OUT", total)]), 1)
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            total = value(request, "IN") + value(request, "S_IN")
            threading.Thread(target=send, args=(request.get_response_sender(), total)).start()
        return RETURNED
"""

WALLS = {"process": "", "thread": 'parameters { key: "isolation" value { string_value: "thread" } }'}


@pytest.fixture(params=list(WALLS.values()), ids=list(WALLS))
def wall(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def until_idle(server: atoll.Server) -> None:
    """The count goes down right after the answer."""
    deadline = time.monotonic() + 30
    while server.in_flight():
        assert time.monotonic() < deadline, f"{server.in_flight()} requests are in flight for ever"
        time.sleep(0.01)


def seen(response: InferenceResponse) -> Any:
    return json.loads(response["SEEN"].ravel()[0])


def test_control_tensors_are_inputs_of_each_request(tmp_path: Path, wall: str) -> None:
    pair = {"pair": "int32_false_true: [3, 7]", "id": "TYPE_UINT64"}
    code = SHOWING.replace("SHAPE", "(1, 1)")
    write_sequence_model(tmp_path, "c", code, "direct {}" + CONTROLS % pair, rest=INPUTS + SEEN + wall)
    with serving(tmp_path) as server:
        for start, end in [(True, False), (False, False), (False, True)]:
            got = seen(ask(server, "c", 2**40, 1, start=start, end=end))
            # recorded from the real server
            assert got["batch"] == [
                {
                    "READY": ["int32", [1, 1], "7"],
                    "CORRID": ["uint64", [1, 1], str(2**40)],
                    "END": ["int32", [1, 1], "7" if end else "3"],
                    "START": ["int32", [1, 1], "7" if start else "3"],
                    "IN": ["float32", [1, 1], "1.0"],
                }
            ]
            assert got["names"] == ["SEEN"]


def test_control_tensors_without_a_batch_dimension_and_string_ids(tmp_path: Path) -> None:
    pair = {"pair": "bool_false_true: [true, false]", "id": "TYPE_STRING"}
    code = SHOWING.replace("SHAPE", "(1,)")
    rest = INPUTS + SEEN + WALLS["thread"]
    write_sequence_model(tmp_path, "c", code, "direct {}" + CONTROLS % pair, rest=rest, max_batch_size=0)
    with serving(tmp_path) as server:
        [one] = seen(ask(server, "c", "abc", 1, start=True, flat=True))["batch"]
    assert one["START"] == ["bool", [1], "False"]
    assert one["END"] == ["bool", [1], "True"]
    assert one["CORRID"] == ["object", [1], "b'abc'"]


def test_empty_slots_are_requests_that_are_not_ready(tmp_path: Path, wall: str) -> None:
    pair = {"pair": "int32_false_true: [0, 1]", "id": "TYPE_UINT64"}
    code = SHOWING.replace("SHAPE", "(1, 1)")
    write_sequence_model(tmp_path, "c", code, "direct {}" + CONTROLS % pair, rest=INPUTS + SEEN + wall)
    with serving(tmp_path) as server:
        for id in (1, 2, 3):
            ask(server, "c", id, id, start=True)
        got = seen(ask(server, "c", 3, 9))
        [counted] = server.statistics("c")
        until_idle(server)
    assert got["place"] == 2
    assert [one["READY"][2] for one in got["batch"]] == ["0", "0", "1"]
    assert [one["CORRID"][2] for one in got["batch"]] == ["0", "0", "3"]
    assert counted.inference_count == counted.success.count == counted.execution_count == 4
    assert [(one.batch_size, one.compute_infer.count) for one in counted.batch_stats] == [(1, 1), (2, 1), (3, 2)]


@pytest.fixture
def summing(tmp_path: Path, wall: str) -> Iterator[atoll.Server]:
    state = f"state [ {{ {STATE} }} ]"
    for name, outputs in (("sum", SUM), ("shown", BOTH)):
        write_sequence_model(tmp_path, name, SUMMING, f"oldest {{}} {state}", rest=INPUTS + outputs + wall)
    with serving(tmp_path) as server:
        yield server


def test_states_are_kept(summing: atoll.Server) -> None:
    first = ask(summing, "sum", 1, 5, start=True)
    assert [(one.name, one.array().tolist()) for one in first.outputs] == [("OUT", [[5]])]
    assert ask(summing, "sum", 2, 100, start=True)["OUT"].tolist() == [[100]]
    assert ask(summing, "sum", 1, 2)["OUT"].tolist() == [[7]]
    assert ask(summing, "sum", 2, 2, outputs=["OUT"])["OUT"].tolist() == [[102]]
    assert ask(summing, "sum", 1, 3, end=True)["OUT"].tolist() == [[10]]
    assert ask(summing, "sum", 1, 3, start=True)["OUT"].tolist() == [[3]]
    assert ask(summing, "shown", 1, 5, start=True)["S_OUT"].tolist() == [[5]]
    some = ask(summing, "shown", 1, 6, outputs=["OUT"])
    assert [(one.name, one.array().tolist()) for one in some.outputs] == [("OUT", [[11]])]
    assert ask(summing, "shown", 1, 1, outputs=["S_OUT"])["S_OUT"].tolist() == [[12]]


@pytest.mark.parametrize("value", [99, 66, 33, 11])
def test_what_fails_or_says_no_state_leaves_it_as_it_was(summing: atoll.Server, value: int) -> None:
    assert ask(summing, "sum", 1, 5, start=True)["OUT"].tolist() == [[5]]
    if value == 11:
        assert ask(summing, "sum", 1, value)["OUT"].tolist() == [[16]]
    else:
        expected = {
            99: "99 is refused",
            66: "66 breaks the batch",
            33: "unexpected datatype TYPE_INT32 for state output",
        }
        with pytest.raises(AtollError, match=expected[value]):
            ask(summing, "sum", 1, value)
    assert ask(summing, "sum", 1, 1)["OUT"].tolist() == [[6]]


@pytest.mark.parametrize("decoupled", [False, True])
def test_an_answer_that_comes_late_is_waited_for(tmp_path: Path, wall: str, decoupled: bool) -> None:
    """The next request of the sequence is there already, and must find the state of the one before."""
    policy = f"model_transaction_policy {{ decoupled: {str(decoupled).lower()} }}"
    state = f"direct {{}} state [ {{ {STATE} }} ]"
    code = LATE.replace("RETURNED", "None" if decoupled else "[None] * len(requests)")
    write_sequence_model(tmp_path, "late", code, state, rest=INPUTS + SUM + wall + policy)
    with serving(tmp_path) as server:
        answers: dict[int, list[InferenceResponse]] = {}
        done = threading.Semaphore(0)

        class Sender:
            def __init__(self, number: int):
                self.number = number

            def send(self, response: InferenceResponse | None, final: bool) -> None:
                if response is not None:
                    answers.setdefault(self.number, []).append(response)
                if final:
                    done.release()

        for number in range(6):
            tensor = atoll.tensor.Tensor.from_numpy("IN", np.full((1, 1), 1, np.float32))
            parameters: dict[str, Any] = {"sequence_id": 7, "sequence_start": number == 0, "sequence_end": number == 5}
            server.submit(atoll.request.InferenceRequest("late", {"IN": tensor}, Sender(number), parameters=parameters))
        for _ in range(6):
            assert done.acquire(timeout=60)
        assert [answers[number][0]["OUT"].tolist() for number in range(6)] == [[[n + 1]] for n in range(6)]
        until_idle(server)


def test_a_process_that_ends_before_a_late_answer(tmp_path: Path) -> None:
    """The batch was executed and not answered: its sequence ends with it, and holds up nobody."""
    code = LATE.replace("RETURNED", "[None] * len(requests)")
    state = f"direct {{}} state [ {{ {STATE} }} ]"
    write_sequence_model(tmp_path, "late", code, state, rest=INPUTS + SUM, max_batch_size=1)  # one slot
    with serving(tmp_path) as server:
        assert ask(server, "late", 1, 60, start=True)["OUT"].tolist() == [[60]]
        with pytest.raises(AtollError, match="is not healthy"):
            ask(server, "late", 1, 6)
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = ask(server, "late", 2, 5, start=True)
                break
            except UnavailableError:  # until it has been started again
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert answer["OUT"].tolist() == [[5]]
        assert ask(server, "late", 2, 2, end=True)["OUT"].tolist() == [[7]]
        until_idle(server)


def test_a_first_state_from_a_file(tmp_path: Path, wall: str) -> None:
    initial = 'initial_state { name: "x" data_type: TYPE_FP32 dims: [1] data_file: "start.bin" }'
    batching = f"direct {{}} state [ {{ {STATE} {initial} }} ]"
    folder = write_sequence_model(tmp_path, "sum", SUMMING, batching, rest=INPUTS + SUM + wall)
    (folder / "initial_state").mkdir()
    (folder / "initial_state" / "start.bin").write_bytes(struct.pack("<f", 40))
    with serving(tmp_path) as server:
        assert ask(server, "sum", 1, 2, start=True)["OUT"].tolist() == [[42]]
        assert ask(server, "sum", 1, 2)["OUT"].tolist() == [[44]]


def test_warmup(tmp_path: Path, wall: str) -> None:
    """Samples have a state and controls of their own, and leave nothing behind."""
    one = 'inputs { key: "IN" value { data_type: TYPE_FP32 dims: [1] zero_data: true } }'
    warmup = f'model_warmup [ {{ name: "w" batch_size: 2 {one} }} ]'
    state = f"oldest {{}} state [ {{ {STATE} }} ]"
    write_sequence_model(tmp_path, "sum", SUMMING, state, rest=INPUTS + SUM + wall + warmup)
    with serving(tmp_path) as server:
        [counted] = server.statistics("sum")
        assert counted.inference_count == 2
        assert ask(server, "sum", 1, 5, start=True)["OUT"].tolist() == [[5]]
