"""Ensembles of real models: Python and ONNX steps, over every door; streams, branches, cancellation, sequences."""

import json
import queue
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.unit.server.python_repository import PATIENCE_S, Asked, ask, eventually, serving, write_python
from tests.unit.server.sequence_models import STATE, accumulator
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

import atoll
from atoll.errors import AtollError, CancelledError, DeadlineExceededError

FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
THREAD = {"isolation": "thread"}
ADD = "def each(request):\n    return answer(value(request) + 1)\n"
COUNT = """
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender, count = request.get_response_sender(), int(value(request)[0])
            for number in range(count):
                sender.send(answer(np.array([number], np.float32)))
            sender.send(flags=FINAL)
"""
MEET = """
def each(request):
    open(NOTES, "w").close()
    other = NOTES.replace("/left/", "/?/").replace("/right/", "/left/").replace("/?/", "/right/")
    while not os.path.exists(other) and not request.is_cancelled():
        time.sleep(0.001)
    return answer(value(request))
"""
SLOW = """
def each(request):
    note(NOTES, "b")
    while not request.is_cancelled():
        time.sleep(0.001)
    note(NOTES, "c")
    return answer(value(request))
"""
FAIL = """
def each(request):
    while not os.path.exists(NOTES.replace("/fail/", "/slow/")):
        time.sleep(0.001)
    return pb.InferenceResponse([], error=pb.TritonError("told to fail"))
"""
MORTAL = """
def each(request):
    if value(request)[0] == 14:
        os._exit(3)
    return answer(value(request) + 1)
"""
Maps = tuple[str, Mapping[str, str], Mapping[str, str]]


def write_ensemble(
    repository: Path,
    name: str,
    steps: Sequence[Maps],
    *,
    inputs: Sequence[str] = ("IN",),
    outputs: Sequence[str] = ("OUT",),
    dims: Sequence[int] = (-1,),
    parameters: Mapping[str, str] | None = None,
    max_batch_size: int = 0,
) -> None:
    (repository / name / "1").mkdir(parents=True)
    lines = [f'platform: "ensemble" max_batch_size: {max_batch_size}']
    for kind, names in (("input", inputs), ("output", outputs)):
        lines += [f'{kind} {{ name: "{one}" data_type: TYPE_FP32 dims: {list(dims)} }}' for one in names]
    lines.append("ensemble_scheduling {")
    for model, taken, made in steps:
        maps = "".join(f' input_map {{ key: "{key}" value: "{one}" }}' for key, one in taken.items())
        maps += "".join(f' output_map {{ key: "{key}" value: "{one}" }}' for key, one in made.items())
        lines.append(f'  step {{ model_name: "{model}" model_version: -1{maps} }}')
    lines.append("}")
    lines += [
        f'parameters {{ key: "{key}" value {{ string_value: "{one}" }} }}' for key, one in (parameters or {}).items()
    ]
    (repository / name / "config.pbtxt").write_text("\n".join(lines))


def write_doubler(repository: Path) -> None:
    """OUT = IN + IN, run by ONNX Runtime."""
    (repository / "double" / "1").mkdir(parents=True)
    sides = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"])] for name in ("IN", "OUT")]
    graph = helper.make_graph([helper.make_node("Add", ["IN", "IN"], ["OUT"])], "double", *sides)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (repository / "double" / "1" / "model.onnx").write_bytes(model.SerializeToString())
    (repository / "double" / "config.pbtxt").write_text(
        'backend: "onnxruntime" input { name: "IN" data_type: TYPE_FP32 dims: -1 } '
        'output { name: "OUT" data_type: TYPE_FP32 dims: -1 }'
    )


def chain(*models: str) -> list[Maps]:
    names = ["IN", *(f"t{number}" for number in range(1, len(models))), "OUT"]
    return [(model, {"IN": names[i]}, {"OUT": names[i + 1]}) for i, model in enumerate(models)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[atoll.Server]:
    repository = tmp_path_factory.mktemp("ensembles")
    write_python(repository, "add", ADD, instances=2)
    write_python(repository, "add_here", ADD, parameters=THREAD)
    write_python(repository, "count", COUNT, decoupled=True)
    write_doubler(repository)
    write_ensemble(repository, "mixed", chain("add", "double", "add_here", "double"))
    write_ensemble(repository, "onnx", chain("double", "double", "double"))
    write_ensemble(repository, "nested", chain("mixed", "onnx"))
    write_ensemble(repository, "stream", chain("double", "count", "add"))
    write_ensemble(repository, "streams", chain("count", "count", "double"))
    write_ensemble(
        repository,
        "perhaps",
        chain("add", "double"),
        parameters={"step[1].if": "t1 < 10 and not parameter(plain)", "step[1].else": "OUT = t1"},
    )
    with serving(repository, model_control_mode="none") as made:
        yield made


@pytest.fixture(scope="module")
def listener(server: atoll.Server) -> Iterator[Any]:
    with atoll.listen(server, **FREE) as made:
        yield made


def post(listener: Any, model: str, value: float, **said: Any) -> Any:
    body = {"inputs": [{"name": "IN", "shape": [1], "datatype": "FP32", "data": [value]}], **said}
    address = f"http://127.0.0.1:{listener.http_port}/v2/models/{model}/infer"
    with urlopen(Request(address, json.dumps(body).encode()), timeout=PATIENCE_S) as answer:
        return json.load(answer)


def grpc_input(value: float) -> InferInput:
    one = InferInput("IN", [1], "FP32")
    one.set_data_from_numpy(np.array([value], np.float32))
    return one


def test_python_and_onnx_steps_over_every_door(server: atoll.Server, listener: Any) -> None:
    assert ask(server, "mixed", [1]) == 10
    assert ask(server, "onnx", [1]) == 8
    assert ask(server, "nested", [1]) == 80
    answer = post(listener, "nested", 1, id="mine")
    assert answer["outputs"] == [{"name": "OUT", "datatype": "FP32", "shape": [1], "data": [80.0]}]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("mine", "nested", "1")
    assert answer["parameters"] == {"sequence_id": 0, "sequence_start": False, "sequence_end": False}
    with InferenceServerClient(f"127.0.0.1:{listener.grpc_port}") as client:
        found = client.infer("mixed", [grpc_input(1)], sequence_id=7, sequence_start=True)
        assert found.as_numpy("OUT").tolist() == [10]
        said = found.get_response().parameters
        assert (said["sequence_id"].int64_param, said["sequence_start"].bool_param) == (7, True)


def test_many_requests_at_once_each_get_their_own_answer(server: atoll.Server) -> None:
    asked = [Asked(server, "mixed", [number]) for number in range(200)]
    for number, one in enumerate(asked):
        assert one.values == [(number + 1) * 4 + 2]
    eventually(lambda: server.in_flight() == 0, "nothing is left")


def test_an_ensembles_statistics_are_its_requests_and_the_sum_of_its_steps(tmp_path: Path) -> None:
    write_python(tmp_path, "add", ADD, parameters=THREAD)
    write_doubler(tmp_path)
    write_ensemble(tmp_path, "both", chain("add", "double"))
    with serving(tmp_path) as server:
        for _ in range(3):
            ask(server, "both", [1])
        both, add, double = (server.statistics(name)[0] for name in ("both", "add", "double"))
    for one in (both, add, double):
        assert (one.success.count, one.inference_count, one.execution_count, one.fail.count) == (3, 3, 3, 0)
        assert [(batch.batch_size, batch.compute_infer.count) for batch in one.batch_stats] == [(1, 3)]
    assert both.compute_input.ns == add.compute_input.ns + double.compute_input.ns
    assert both.compute_infer.ns == add.compute_infer.ns + double.compute_infer.ns
    assert both.success.ns >= add.success.ns + double.success.ns


def test_a_stream_runs_what_follows_for_each_answer(server: atoll.Server) -> None:
    assert Asked(server, "stream", [2]).values == [1, 2, 3, 4]
    assert Asked(server, "stream", [0]).wait().responses == []
    assert Asked(server, "streams", [4]).values == [0, 0, 2, 0, 2, 4]


def test_a_stream_over_grpc_ends_with_its_final_flag(listener: Any) -> None:
    came: queue.Queue[Any] = queue.Queue()
    with InferenceServerClient(f"127.0.0.1:{listener.grpc_port}") as client:
        client.start_stream(lambda result, error: came.put(error or result))
        for count, expected in ((2, [1, 2, 3, 4]), (0, [])):
            client.async_stream_infer("stream", [grpc_input(count)], enable_empty_final_response=True)
            values: list[float] = []
            final = False
            while not final:
                one = came.get(timeout=PATIENCE_S)
                assert not isinstance(one, Exception), one
                final = one.get_response().parameters["triton_final_response"].bool_param
                if one.get_response().outputs:
                    values.append(one.as_numpy("OUT")[0])
            assert values == expected


def test_a_stream_is_refused_where_there_is_one_answer(listener: Any) -> None:
    wrong = "doesn't support models with decoupled transaction policy"
    with (
        InferenceServerClient(f"127.0.0.1:{listener.grpc_port}") as client,
        pytest.raises(InferenceServerException, match=wrong),
    ):
        client.infer("stream", [grpc_input(1)])


def test_a_step_is_skipped_by_a_tensor_or_a_parameter(server: atoll.Server, listener: Any) -> None:
    before = server.statistics("double")[0].success.count
    assert post(listener, "perhaps", 1)["outputs"][0]["data"] == [4]
    assert post(listener, "perhaps", 20)["outputs"][0]["data"] == [21]
    assert post(listener, "perhaps", 1, parameters={"plain": True})["outputs"][0]["data"] == [2]
    assert server.statistics("double")[0].success.count == before + 1


def test_branches_run_side_by_side(tmp_path: Path) -> None:
    write_python(tmp_path, "left", MEET)
    write_python(tmp_path, "right", MEET)
    write_ensemble(
        tmp_path,
        "both",
        [("left", {"IN": "IN"}, {"OUT": "L"}), ("right", {"IN": "IN"}, {"OUT": "R"})],
        outputs=("L", "R"),
    )
    with serving(tmp_path) as server:
        answer = server.infer("both", {"IN": np.ones(1, np.float32)}, timeout=PATIENCE_S)
        assert (answer["L"][0], answer["R"][0]) == (1, 1)


@pytest.mark.parametrize("placement", ["process", "thread"])
def test_cancelling_reaches_the_step_that_runs(tmp_path: Path, placement: str) -> None:
    notes = write_python(tmp_path, "slow", SLOW, parameters={"isolation": placement})
    untouched = write_python(tmp_path, "next", SLOW, parameters=THREAD)
    write_ensemble(tmp_path, "both", chain("slow", "next"))
    with serving(tmp_path) as server:
        asked = Asked(server, "both", [1])
        eventually(notes.exists, "it runs")
        asked.request.cancel()
        asked.wait()
        assert isinstance(asked.responses[0].error, CancelledError)
        assert notes.read_text() == "bc"
        assert not untouched.exists()
        eventually(lambda: server.in_flight() == 0, "nothing is left")
        assert server.statistics("both")[0].failures["CANCELED"] == 1


def test_a_client_that_hangs_up_is_heard_by_the_step_that_runs(tmp_path: Path) -> None:
    notes = write_python(tmp_path, "slow", SLOW)
    write_ensemble(tmp_path, "both", chain("slow", "slow"))
    with serving(tmp_path) as server, atoll.listen(server, **FREE) as listener:
        with InferenceServerClient(f"127.0.0.1:{listener.grpc_port}") as client:
            call = client.async_infer("both", [grpc_input(1)], callback=lambda result, error: None)
            eventually(notes.exists, "it runs")
            call.cancel()
            eventually(lambda: notes.read_text() == "bc", "the model sees it")
        eventually(lambda: server.in_flight() == 0, "nothing is left")


@pytest.mark.slow
def test_a_step_whose_process_dies_ends_the_request_and_not_the_ensemble(tmp_path: Path) -> None:
    write_python(tmp_path, "add", ADD, parameters=THREAD)
    write_python(tmp_path, "mortal", MORTAL)
    write_ensemble(tmp_path, "both", chain("add", "mortal"))
    with serving(tmp_path) as server:
        assert ask(server, "both", [1]) == 3
        asked = Asked(server, "both", [13])
        assert asked.error.startswith("in ensemble 'both', ")
        eventually(lambda: _answers(server), "it comes back")


def _answers(server: atoll.Server) -> bool:
    try:
        return ask(server, "both", [1]) == 3
    except AtollError:
        return False


def test_a_failing_branch_cancels_the_other(tmp_path: Path) -> None:
    notes = write_python(tmp_path, "slow", SLOW)
    write_python(tmp_path, "fail", FAIL)
    branches = [("slow", {"IN": "IN"}, {"OUT": "L"}), ("fail", {"IN": "IN"}, {"OUT": "R"})]
    write_ensemble(tmp_path, "both", branches, outputs=("L", "R"))
    with serving(tmp_path) as server:
        asked = Asked(server, "both", [1])
        assert asked.error == "in ensemble 'both', told to fail"
        assert notes.read_text() == "bc"
        assert server.in_flight() == 0


def test_a_deadline_ends_the_ensemble_and_its_steps(tmp_path: Path) -> None:
    notes = write_python(tmp_path, "slow", SLOW)
    write_ensemble(tmp_path, "one", chain("slow"), parameters={"deadline_seconds": "0.3"})
    with serving(tmp_path) as server:
        asked = Asked(server, "one", [1])
        asked.wait()
        assert isinstance(asked.responses[0].error, DeadlineExceededError)
        eventually(lambda: server.in_flight() == 0, "nothing is left")
        assert notes.read_text() in ("", "bc")


def test_stopping_the_server_answers_what_runs(tmp_path: Path) -> None:
    notes = write_python(tmp_path, "slow", SLOW)
    write_ensemble(tmp_path, "one", chain("slow", "slow"))
    with serving(tmp_path, exit_timeout_secs=0) as server:
        asked = Asked(server, "one", [1])
        eventually(notes.exists, "it runs")
    assert asked.wait().responses[0].error is not None


def test_a_sequence_passes_through_an_ensemble(tmp_path: Path) -> None:
    write_python(tmp_path, "add", ADD.replace("+ 1", "* 10"), parameters=THREAD)
    folder = tmp_path / "sum"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(accumulator())
    (folder / "config.pbtxt").write_text(
        'backend: "onnxruntime"\nmax_batch_size: 4\n'
        'input [ { name: "IN" data_type: TYPE_FP32 dims: [1] } ] '
        'output [ { name: "OUT" data_type: TYPE_FP32 dims: [1] } ]\n'
        f"sequence_batching {{ oldest {{ max_candidate_sequences: 4 }} state [ {{ {STATE} }} ] }}\n"
        "instance_group [{ count: 1 kind: KIND_CPU }]"
    )
    write_ensemble(tmp_path, "both", chain("add", "sum"))
    with serving(tmp_path) as server:
        totals = {1: 0.0, 2: 0.0}
        for number in range(4):
            for sequence in (1, 2):
                value = number * sequence + 1
                totals[sequence] += value * 10
                said = {"sequence_id": sequence, "sequence_start": number == 0, "sequence_end": number == 3}
                answer = server.infer("both", {"IN": np.array([value], np.float32)}, parameters=said)
                assert answer["OUT"].ravel().tolist() == [totals[sequence]]
                assert answer.parameters["sequence_id"] == sequence
        with pytest.raises(
            AtollError, match=r"^in ensemble 'both', inference request for sequence 9 to model 'sum' must"
        ):
            server.infer("both", {"IN": np.ones(1, np.float32)}, parameters={"sequence_id": 9})


def test_a_wrong_condition_is_said_by_its_key(tmp_path: Path) -> None:
    write_python(tmp_path, "add", ADD, parameters=THREAD)
    write_ensemble(tmp_path, "wrong", chain("add", "add"), parameters={"step[1].if": "t2 > 1"})
    wrong = r"parameters\['step\[1\].if'\].*ensemble 'wrong' has no tensor 't2'"
    with serving(tmp_path, model_control_mode="explicit") as server, pytest.raises(AtollError, match=wrong):
        server.load_model("wrong")
