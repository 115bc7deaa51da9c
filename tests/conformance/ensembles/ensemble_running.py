"""What is asked of running ensembles: models that do as their input says, the ensembles of them, and the questions."""

import json
import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tests.conformance.ensembles.ensemble_repository import (
    DECOUPLED,
    OPTIONAL,
    THREAD,
    Tensor,
    step,
    tensors,
    write_ensemble,
)
from tests.conformance.process import ServerProcess
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

PATIENCE_S = 20.0
_HEAD = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils


def value(request, name="IN"):
    found = pb_utils.get_input_tensor_by_name(request, name)
    return None if found is None else found.as_numpy()


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
"""
_ADD = """
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", value(request) + 1)])
"""
_FACTS = """
        facts = {
            "id": request.request_id(), "correlation_id": request.correlation_id(), "flags": request.flags(),
            "parameters": json.loads(request.parameters()), "timeout": request.timeout(),
            "inputs": sorted([one.name(), list(one.as_numpy().shape)] for one in request.inputs()),
            "outputs": sorted(request.requested_output_names()),
        }
        text = json.dumps(facts, sort_keys=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([text], object))])
"""
_FAIL = """
        return pb_utils.InferenceResponse([], error=pb_utils.TritonError("told to fail", pb_utils.TritonError.CODE))
"""
_TWO = """
        outputs = [pb_utils.Tensor("OUT", value(request) + 1)]
        if value(request)[0] > 0:
            outputs.append(pb_utils.Tensor("OUT2", value(request) + 2))
        return pb_utils.InferenceResponse(outputs)
"""
_SUM = """
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", value(request) + value(request, "IN2"))])
"""
_MANY = """
        sender, count = request.get_response_sender(), int(value(request)[0])
        for number in range(abs(count)):
            sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([number + 10], np.int32))]))
        if count < 0:
            sender.send(pb_utils.InferenceResponse([], error=pb_utils.TritonError("told to fail")))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""

_IN: Sequence[Tensor] = (("IN", "INT32", (-1,)),)
_OUT: Sequence[Tensor] = (("OUT", "INT32", (-1,)),)
_A: Sequence[Tensor] = (("A", "INT32", (-1,)),)
_B: Sequence[Tensor] = (("B", "INT32", (-1,)),)
_B_OPTIONAL: Sequence[Tensor] = (("B", "INT32", (-1,), OPTIONAL),)
_Y: Sequence[Tensor] = (("Y", "INT32", (-1,)),)
_Z: Sequence[Tensor] = (("Z", "INT32", (-1,)),)
_TEXT: Sequence[Tensor] = (("Y", "STRING", (1,)),)


def _write_model(
    root: Path,
    name: str,
    code: str,
    inputs: Sequence[Tensor] = _IN,
    outputs: Sequence[Tensor] = _OUT,
    size: int = 0,
    more: str = "",
) -> None:
    (root / name / "1").mkdir(parents=True)
    (root / name / "1" / "model.py").write_text(_HEAD + code)
    text = f'backend: "python"\nmax_batch_size: {size}\n{tensors("input", inputs)}{tensors("output", outputs)}{more}'
    (root / name / "config.pbtxt").write_text(text + THREAD)


def write_running(root: Path) -> Path:
    """The models and the ensembles."""
    in2 = (("IN2", "INT32", (-1,)),)
    in2_optional: Sequence[Tensor] = (("IN2", "INT32", (-1,), OPTIONAL),)
    _write_model(root, "add", _ADD)
    _write_model(root, "add_batched", _ADD, size=4)
    _write_model(root, "facts", _FACTS, (*_IN, *in2_optional), (("OUT", "STRING", (1,)),))
    _write_model(root, "fail", _FAIL.replace(", pb_utils.TritonError.CODE", ""))
    for code in ("UNAVAILABLE", "INVALID_ARG", "NOT_FOUND", "CANCELLED"):
        _write_model(root, f"fail_{code.lower()}", _FAIL.replace("CODE", code))
    _write_model(root, "two", _TWO, outputs=(*_OUT, ("OUT2", "INT32", (-1,))))
    _write_model(root, "sum", _SUM, (*_IN, *in2))
    _write_model(root, "many", _MANY, more=DECOUPLED)

    def single(name: str, model: str, **more: Any) -> None:
        write_ensemble(root, name, [step(model, {"IN": "A"}, {"OUT": "Y"})], _A, _Y, **{"size": 0, **more})

    def chain(name: str, *models: str) -> None:
        names = ["A", *(f"t{number}" for number in range(1, len(models))), "Y"]
        steps = [step(one, {"IN": names[i]}, {"OUT": names[i + 1]}) for i, one in enumerate(models)]
        write_ensemble(root, name, steps, _A, _Y, size=0)

    chain("chain", "add", "add")
    chain("fails", "add", "fail")
    write_ensemble(root, "nested", [step("fails", {"A": "A"}, {"Y": "Y"})], _A, _Y, size=0)
    for code in ("unavailable", "invalid_arg", "not_found", "cancelled"):
        single(f"fails_{code}", f"fail_{code}")
    steps = [step("add", {"IN": "A"}, {"OUT": "t"}), step("facts", {"IN": "t"}, {"OUT": "Y"})]
    write_ensemble(root, "told", steps, _A, _TEXT, size=0)
    steps = [step("facts", {"IN": "A", "IN2": "B"}, {"OUT": "Y"})]
    write_ensemble(root, "optional", steps, (*_A, *_B_OPTIONAL), _TEXT, size=0)
    steps = [step("sum", {"IN": "A", "IN2": "B"}, {"OUT": "Y"})]
    write_ensemble(root, "wrongly_optional", steps, (*_A, *_B_OPTIONAL), _Y, size=0)
    write_ensemble(root, "gives_two", [step("two", {"IN": "A"}, {"OUT": "Y", "OUT2": "Z"})], _A, (*_Y, *_Z), size=0)
    steps = [step("two", {"IN": "A"}, {"OUT": "Y", "OUT2": "u"}), step("add", {"IN": "u"}, {"OUT": "Z"})]
    write_ensemble(root, "passes_two", steps, _A, (*_Y, *_Z), size=0)
    steps = [step("add", {"IN": "A"}, {"OUT": "Y"}), step("fail", {"IN": "A"}, {"OUT": "Z"})]
    write_ensemble(root, "branches", steps, _A, (*_Y, *_Z), size=0)
    steps = [step("add", {"IN": "A"}, {"OUT": "Y"}), step("add", {"IN": "Y"}, {"OUT": "Z"})]
    write_ensemble(root, "shows_both", steps, _A, (*_Y, *_Z), size=0)
    steps = [step("add", {"IN": "A"}, {"OUT": "Y"}), step("fail", {"IN": "B"}, {"OUT": "Z"})]
    write_ensemble(root, "apart", steps, (*_A, *_B), (*_Y, *_Z), size=0)
    single("batched", "add_batched", size=4)
    single("batched_of_plain", "add", size=4)
    single("plain_of_batched", "add_batched")
    steps = [step("add_batched", {"IN": "A"}, {"OUT": "t"}), step("add", {"IN": "t"}, {"OUT": "Y"})]
    write_ensemble(root, "batched_then_plain", steps, (("A", "INT32", (-1, -1)),), _Y, size=0)
    reshaped: Sequence[Tensor] = (("A", "INT32", (1, -1), "reshape { shape: [ -1 ] }"),)
    write_ensemble(root, "reshaped", [step("add", {"IN": "A"}, {"OUT": "Y"})], reshaped, _Y, size=0)
    shown: Sequence[Tensor] = (("Y", "INT32", (1, -1), "reshape { shape: [ -1 ] }"),)
    write_ensemble(root, "shown_reshaped", [step("add", {"IN": "A"}, {"OUT": "Y"})], _A, shown, size=0)
    chain("many_first", "many", "add")
    chain("many_last", "add", "many")
    chain("many_between", "add", "many", "add")
    chain("many_twice", "many", "many")
    steps = [step("many", {"IN": "A"}, {"OUT": "Y"}), step("add", {"IN": "Y"}, {"OUT": "Z"})]
    write_ensemble(root, "many_and_next", steps, _A, (*_Y, *_Z), size=0)
    return root


@dataclass(frozen=True)
class Question:
    """`inputs` by name; `options` are the client's."""

    model: str
    inputs: dict[str, Any]
    outputs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    stream: bool = False


def questions() -> dict[str, Question]:
    """By a name that says what is asked."""
    found: dict[str, Question] = {}

    def ask(
        model: str, *outputs: str, stream: bool = False, options: dict[str, Any] | None = None, **inputs: Any
    ) -> None:
        named = " ".join([f"{key}={value}" for key, value in inputs.items()] + [f"for {one}" for one in outputs])
        title = f"{model} {named}{' ' + json.dumps(options) if options else ''}"
        found[title] = Question(model, inputs, outputs, options or {}, stream)

    ask("chain", A=[1, 2])
    ask("chain", A=[1], options={"request_id": "7"})
    ask("chain", B=[1])
    ask("chain", "Q", A=[1])
    ask("told", A=[1])
    said = {"request_id": "7", "sequence_id": 5, "sequence_start": True, "priority": 3, "timeout": 1000000}
    ask("told", A=[1], options={**said, "parameters": {"text": "x", "number": 4}})
    ask("told", A=[1], options={"sequence_id": "abc", "sequence_start": True, "sequence_end": True})
    for name in ("optional", "wrongly_optional"):
        ask(name, A=[1])
        ask(name, A=[1], B=[2])
    ask("wrongly_optional", A=[1], options={"request_id": "7"})
    failing = ("fails", "nested", "fails_unavailable", "fails_invalid_arg", "fails_not_found", "fails_cancelled")
    for name in failing:
        ask(name, A=[1])
    for value in (0, 1):
        for name in ("gives_two", "passes_two"):
            ask(name, A=[value])
            ask(name, "Y", A=[value])
            ask(name, "Z", A=[value])
    ask("branches", A=[1])
    ask("branches", "Y", A=[1])
    for outputs in ((), ("Y",), ("Z",), ("Y", "Z")):
        ask("shows_both", *outputs, A=[1])
    ask("apart", "Y", A=[1], B=[1])
    ask("apart", "Z", A=[1], B=[1])
    ask("batched", A=[[1, 2], [3, 4]])
    ask("batched", A=[[1]] * 5)
    ask("batched_of_plain", A=[[1, 2]])
    ask("batched_of_plain", A=[[1, 2], [3, 4]])
    ask("plain_of_batched", A=[1, 2])
    ask("batched_then_plain", A=[[1, 2]])
    ask("batched_then_plain", A=[[1], [2]])
    ask("reshaped", A=[[1, 2]])
    ask("shown_reshaped", A=[1, 2])
    ask("many_first", A=[1])
    for name in ("many_first", "many_last", "many_between", "many_twice", "many_and_next"):
        for value in (0, 1, 3, -2):
            ask(name, A=[value], stream=True)
    ask("many_and_next", "Y", A=[2], stream=True)
    ask("many_and_next", "Z", A=[2], stream=True)
    ask("chain", A=[5], stream=True)
    return found


COUNTED = ("chain", "batched", "many_first")


def answers(server: ServerProcess) -> dict[str, Any]:
    """What the server says to each of them, and what it has counted then."""
    found: dict[str, Any] = {}
    with InferenceServerClient(server.grpc) as client:
        for name, question in questions().items():
            found[name] = _streamed(server, question) if question.stream else _asked(client, question)
    counted = {name: _counted(server, name) for name in COUNTED}
    return {"answers": found, "counted": counted}


def _inputs(question: Question) -> list[InferInput]:
    found = []
    for name, value in question.inputs.items():
        array = np.array(value, np.int32)
        one = InferInput(name, list(array.shape), "INT32")
        one.set_data_from_numpy(array)
        found.append(one)
    return found


def _outputs(question: Question) -> list[InferRequestedOutput] | None:
    return [InferRequestedOutput(one) for one in question.outputs] or None


def _asked(client: InferenceServerClient, question: Question) -> dict[str, Any]:
    try:
        result = client.infer(question.model, _inputs(question), outputs=_outputs(question), **question.options)
    except InferenceServerException as error:
        return {"error": error.message(), "status": error.status()}
    return _said(result)


def _said(result: InferResult) -> dict[str, Any]:
    response = result.get_response()
    said = {name: getattr(one, one.WhichOneof("parameter_choice")) for name, one in response.parameters.items()}
    said.pop("triton_final_response", None)  # whether it is with the last answer, or after it, depends on the moment
    outputs = {}
    for one in response.outputs:
        array = result.as_numpy(one.name)
        values = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
        outputs[one.name] = {"shape": list(one.shape), "values": values}
    return {"id": response.id, "model": response.model_name, "outputs": outputs, "parameters": said}


def _streamed(server: ServerProcess, question: Question) -> dict[str, Any]:
    """All answers until the final one, or the error: what came before that depends on the moment."""
    came: queue.Queue[Any] = queue.Queue()
    found: list[dict[str, Any]] = []
    with InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: came.put(error or result))
        client.async_stream_infer(
            question.model, _inputs(question), outputs=_outputs(question), enable_empty_final_response=True
        )
        while True:
            one = came.get(timeout=PATIENCE_S)
            if isinstance(one, InferenceServerException):
                return {"error": one.message()}
            if one.get_response().outputs:
                found.append(_said(one))
            if one.get_response().parameters["triton_final_response"].bool_param:
                return {"answers": sorted(found, key=lambda answer: json.dumps(answer["outputs"]))}


def _counted(server: ServerProcess, model: str) -> dict[str, Any]:
    exchange = server.exchange("GET", f"/v2/models/{model}/stats")
    [found] = json.loads(exchange.body)["model_stats"]
    return {
        "inference_count": found["inference_count"],
        "execution_count": found["execution_count"],
        "success": found["inference_stats"]["success"]["count"],
        "queue": found["inference_stats"]["queue"]["count"],
        "compute_infer": found["inference_stats"]["compute_infer"]["count"],
        "batch_sizes": {str(one["batch_size"]): one["compute_infer"]["count"] for one in found["batch_stats"]},
    }
