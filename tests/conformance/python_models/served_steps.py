"""What is asked about the models in `models/`: by scenario, the steps in their order."""

import base64
import json
import math
import re
import time
from collections.abc import Iterator
from typing import Any

from tests.conformance import grpc_questions, metrics
from tests.conformance.python_models.snippets import BLOCKS
from tests.conformance.python_models.steps import (
    AnyStep,
    Session,
    Step,
    around,
    call,
    infer,
    logged,
    request,
    stream,
)
from tests.conformance.questions import Question
from tests.conformance.repository_questions import load, post, rpc, unload
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
CALLED = ("identity", "other", "add_sub", "repeat", "refuse", "slow", "lab_async")
CALLING = ("lab, request", "lab, call", "lab, helper", "lab_async, async", "lab_decoupled, decoupled")
AUTO = (
    *("auto_all", "auto_plain", "auto_optional", "auto_decoupled", "auto_agrees", "auto_nothing", "auto_smaller"),
    *("auto_batching_of_sequences", "auto_coupled_again", "auto_no_name", "auto_no_dims", "auto_unknown_policy"),
    "auto_reads",
)
LOGGED = ("lab plain", "lab of a level", "lab info", "lab warning", "lab error", "lab printed", "lab printed an error")


def steps() -> dict[str, list[AnyStep]]:
    found = {title: list(_laboratory(title)) for title in dict.fromkeys(name.partition(":")[0] for name in BLOCKS)}
    found["lab, metric"].append(metric_lines("lab_"))
    found["lab, logger"].append(logged("what was said", *LOGGED))
    found["lab, logger"].append(logged("two lines", "lab two", "lines"))
    found |= {name: list(_completed(name)) for name in AUTO}
    for title, model, asked in (
        ("error codes", "refuse", _codes()),
        ("told", "told", _told()),
        ("optional inputs", "optional", _optional()),
        ("decoupled", "repeat", _repeated()),
        ("sequences", "accumulate", _sequence()),
        ("rescheduling", "iterate", _rescheduled("iterate")),
        ("rescheduling, decoupled", "iterate_decoupled", _rescheduled("iterate_decoupled")),
        ("cancellation", "slow", _cancelled()),
        ("two outputs", "add_sub", _outputs()),
        ("BF16", "bf16", _bf16()),
        ("strings", "strings", _strings()),
    ):
        found[title] = list(around(model, asked))
    return found


def run(name: str, code: str) -> Step:
    """Runs code on the model that the name begins with; the answers, as text, or the error."""
    model = name.partition(",")[0]
    tensor = pb.ModelInferRequest.InferInputTensor(name="CODE", datatype="BYTES", shape=[1])
    data = code.encode()
    raw = [len(data).to_bytes(4, "little") + data]
    message = pb.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=raw, id="id1")
    message.parameters["triton_enable_empty_final_response"].bool_param = model == "lab_decoupled"

    def act(session: Session) -> Any:
        method = "ModelStreamInfer" if model == "lab_decoupled" else "ModelInfer"
        if model != "lab_decoupled":
            message.ClearField("parameters")
        answer = grpc_questions.ask(session.channel, grpc_questions.Question(name, method, [message]))
        if answer["status"] != "OK":
            return {"status": answer["status"], "error": answer["details"]}
        return {"answers": [_told_in(one) for one in answer["messages"]]}

    return Step(name, act)


def _told_in(message: dict[str, Any]) -> Any:
    response = message.get("infer_response", message)
    final = response.get("parameters", {}).get("triton_final_response", {}).get("bool_param")
    found: dict[str, Any] = {} if final is None else {"final": final}
    if message.get("error_message"):
        return {**found, "error": message["error_message"]}
    texts = [base64.b64decode(raw)[4:].decode() for raw in response.get("raw_output_contents", ())]
    return {**found, "texts": [_ADDRESS.sub("0x...", text) for text in texts]}


def metric_lines(prefix: str) -> Step:
    """The lines of the metrics page about families that begin with it, sorted."""

    def act(session: Session) -> Any:
        def lines() -> list[str]:
            page = metrics.page(session.server).body.decode().splitlines()
            return sorted(line for line in page if re.sub(r"^# (HELP|TYPE) ", "", line).startswith(prefix))

        found, unchanged = lines(), 0
        for _ in range(50):
            if unchanged == 3:
                break
            time.sleep(0.1)  # what a model has let go leaves the page when its process has said so
            before, found = found, lines()
            unchanged = unchanged + 1 if before == found else 0
        return found

    return Step(f"metrics that begin with {prefix}", act)


def _laboratory(title: str) -> Iterator[AnyStep]:
    model = title.partition(",")[0]
    called = ("accumulate",) if title == "lab, sequence" else CALLED if title in CALLING else ()
    wanted = dict.fromkeys((model, *called))
    yield from (load("first", name) for name in wanted)
    yield from (run(name, code) for name, code in BLOCKS.items() if name.partition(":")[0] == title)


def _completed(name: str) -> Iterator[AnyStep]:
    yield load("first", name)
    yield Question(f"configuration of {name}", f"/v2/models/{name}/config", method="GET")
    yield Question(f"metadata of {name}", f"/v2/models/{name}", method="GET")
    if name == "auto_decoupled":
        yield stream("decoupled", request(name, [0.0, 0.0]))
    else:
        for shape in ([2], [1, 2], [3]):
            tensor = {"name": "INPUT0", "datatype": "FP32", "shape": shape, "data": [0.0] * math.prod(shape)}
            yield post(f"infer {name} {shape}", f"/v2/models/{name}/infer", {"inputs": [tensor]})
    yield unload("last", name)


def _codes() -> Iterator[AnyStep]:
    for code in range(8):
        yield infer(f"code {code}", "refuse", [float(code)])
        yield call(f"code {code}", "refuse", [float(code)])
        yield stream(f"code {code}", request("refuse", [float(code)]))


def _told() -> Iterator[AnyStep]:
    members: dict[str, dict[str, Any]] = {
        "nothing": {},
        "an id": {"id": "mine"},
        "parameters": {"parameters": {"a": 1, "b": "text", "c": True, "d": 1.5, "priority": 2, "timeout": 5000000}},
        "a sequence": {"parameters": {"sequence_id": 7, "sequence_start": True, "sequence_end": True}},
        "a named sequence": {"parameters": {"sequence_id": "seven"}},
        "one output": {"outputs": [{"name": "RESULT"}]},
        "the other output": {"outputs": [{"name": "MORE"}]},
        "two outputs": {"outputs": [{"name": "MORE"}, {"name": "RESULT"}]},
        "an unknown output": {"outputs": [{"name": "NOPE"}]},
    }
    for name, more in members.items():
        yield infer(name, "told", **more)
    message = request("told", id="mine")
    for key, value in (("a", 1), ("b", "text"), ("c", True)):
        field = {int: "int64_param", str: "string_param", bool: "bool_param"}[type(value)]
        message.parameters[key].CopyFrom(pb.InferParameter(**{field: value}))
    yield rpc("parameters", "ModelInfer", message)
    fraction = request("told")
    fraction.parameters["d"].double_param = 1.5
    yield rpc("a fraction", "ModelInfer", fraction)
    wanted = request("told")
    wanted.outputs.add(name="RESULT")
    yield rpc("one output", "ModelInfer", wanted)


def _optional() -> Iterator[AnyStep]:
    first, second = ({"name": f"INPUT{n}", "datatype": "FP32", "shape": [1], "data": [1.0]} for n in (0, 1))
    for name, inputs in (("both", [first, second]), ("one", [first]), ("the wrong one", [second]), ("none", [])):
        yield post(f"{name}: optional", "/v2/models/optional/infer", {"inputs": inputs})


def _repeated() -> Iterator[AnyStep]:
    for count in (0, 1, 3):
        values = [float(number) for number in range(count)]
        yield stream(f"{count} responses", request("repeat", values))
        message = request("repeat", values)
        message.parameters["triton_enable_empty_final_response"].bool_param = True
        yield stream(f"{count} responses and the last", message)
    yield call("unary", "repeat", [1.0])
    yield call("unary, two responses", "repeat", [1.0, 2.0])
    yield infer("over HTTP", "repeat", [1.0])


def _sequence() -> Iterator[AnyStep]:
    def one(name: str, value: float, **parameters: Any) -> Question:
        tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [1, 1], "data": [value]}
        return post(name, "/v2/models/accumulate/infer", {"inputs": [tensor], "parameters": parameters})

    yield one("start", 1.0, sequence_id=3, sequence_start=True)
    yield one("middle", 2.0, sequence_id=3)
    yield one("another one's start", 10.0, sequence_id=4, sequence_start=True)
    yield one("end", 3.0, sequence_id=3, sequence_end=True)
    yield one("another one's end", 5.0, sequence_id=4, sequence_end=True)
    yield one("without a start", 1.0, sequence_id=5)
    yield one("without an id", 1.0)


def _rescheduled(model: str) -> Iterator[AnyStep]:
    for count in (1.0, 3.0):
        message = request(model, [count])
        message.inputs[0].shape[:] = [1, 1]
        yield stream(f"{count:g} rounds", message)


def _cancelled() -> Iterator[AnyStep]:
    def act(session: Session) -> Any:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(session.channel)
        future = stub.ModelInfer.future(request("slow", [30.0]), timeout=60)
        time.sleep(0.5)
        future.cancel()
        return {"code": future.code().name}

    yield Step("a client that goes", act)
    yield logged("what the model saw", "SLOW saw the cancellation")
    yield call("the next one", "slow", [0.0])
    yield infer("in time", "slow", [0.1])


def _outputs() -> Iterator[AnyStep]:
    tensors = [{"name": f"INPUT{n}", "datatype": "FP32", "shape": [1, 2], "data": [3.0, 4.0]} for n in (0, 1)]
    for names in ([], ["OUTPUT0"], ["OUTPUT1"], ["OUTPUT1", "OUTPUT0"], ["NOPE"]):
        document = {"inputs": tensors, **({"outputs": [{"name": name} for name in names]} if names else {})}
        yield post(f"outputs {names}", "/v2/models/add_sub/infer", document)


def _bf16() -> Iterator[AnyStep]:
    tensor = pb.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="BF16", shape=[3])
    message = pb.ModelInferRequest(model_name="bf16", inputs=[tensor], raw_input_contents=[b"\x80\x3f\x00\x40\x40\x40"])
    yield rpc("three", "ModelInfer", message)


def _strings() -> Iterator[AnyStep]:
    for texts in (["a", "Bc"], ["", "h\u00e9"], []):
        tensor = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, len(texts)], "data": texts}
        yield post(f"{json.dumps(texts)}", "/v2/models/strings/infer", {"inputs": [tensor]})
