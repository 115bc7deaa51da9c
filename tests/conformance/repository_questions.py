"""Loading, unloading and listing models: questions in an order that matters, to a server over a repository of its own.

Either server gets the same models, in its own form. What a backend says of a file that it cannot read is its own affair
and taken out of the answers.
"""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from tests.conformance import grpc_questions
from tests.conformance.comparing import normal
from tests.conformance.models import PYTHON_MODEL, write_onnx_repository, write_python_repository
from tests.conformance.onnx_models import identity_model
from tests.conformance.process import ServerProcess
from tests.conformance.questions import Question, get
from tests.conformance.record import as_record, ask_http
from tritonclient.grpc import service_pb2 as pb

MODES = {"explicit": ("--model-control-mode=explicit", "--load-model=matrix"), "none": ()}
MODELS = ("matrix", "simple", "two_versions", "identity_fp32")
INFER_MATRIX = {"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [2, 3], "data": [0] * 6}]}
BAD_CONFIGS = (
    *("{", " ", "null", "[]", "1", '{"nofield":1}', '{"max_batch_size":"x"}', '{"max_batch_size":-1}'),
    *('{"name":"other"}', '{"instance_group":[{"kind":"KIND_BLA"}]}', '{"input":[{"dims":{}}]}'),
)
BODIES = ("", "[]", '"s"', "1", "null", '{"x":1}', '{"parameters":{}}')
WRONG_BODIES = ("garbage", "{", '{"parameters":1}', '{"parameters":[]}', '{"parameters":null}', '{"parameters":"x"}')
_SETTLED_S = 30.0
_BACKENDS_WORDS = re.compile(r"(is at UNAVAILABLE state: ).*", re.DOTALL)


@dataclass(frozen=True)
class Form:
    """What is not the same for both servers."""

    backend: str
    file: str
    identity: bytes
    write: Callable[..., Path]


PYTHON = Form("python", "model.py", PYTHON_MODEL.format(kind="identity").encode(), write_python_repository)
ONNX = Form("onnxruntime", "model.onnx", identity_model("fp32", [2, 3]), write_onnx_repository)

AnyQuestion = Question | grpc_questions.Question


def write_repository(root: Path, form: Form, *, broken: bool) -> Path:
    """Good models and, if wanted, three that cannot be loaded; returns `root`."""
    form.write(root, *MODELS)
    if not broken:
        return root
    for name, config in (
        ("no_version", f'backend: "{form.backend}"\n'),
        ("unknown_field", f'backend: "{form.backend}"\nnofield: 1\n'),
        ("unreadable", _matrix_config(form)),
    ):
        (root / name).mkdir()
        (root / name / "config.pbtxt").write_text(config)
    for name in ("unknown_field", "unreadable"):
        (root / name / "1").mkdir()
        (root / name / "1" / form.file).write_bytes(b"not a model")
    return root


def questions(mode: str, form: Form) -> Iterator[AnyQuestion]:
    """All questions to a server in this mode, in their order."""
    if mode == "none":
        yield from _of_mode_none()
        return
    yield from _never_loaded()
    yield from _models_that_cannot_be_loaded()
    yield from _loaded()
    yield from _overrides(form)
    yield from _unloaded()
    yield from _parameters()
    yield from _paths()


def ask_all(server: ServerProcess, mode: str, form: Form) -> dict[str, Any]:
    """The answers, by question. What is on its way out is waited for before the next question."""
    answers: dict[str, Any] = {}
    with grpc.insecure_channel(server.grpc) as channel:
        for question in questions(mode, form):
            assert question.name not in answers, question.name
            if isinstance(question, Question):
                answers[question.name] = _without_backends_words(as_record(ask_http(server, question)))
            else:
                answers[question.name] = normal(_without_backends_words(grpc_questions.ask(channel, question)))
            _settle(server)
    return answers


def _settle(server: ServerProcess) -> None:
    deadline = time.monotonic() + _SETTLED_S
    while "UNLOADING" in server.exchange("POST", "/v2/repository/index").body.decode():
        assert time.monotonic() < deadline, "a model is not freed"
        time.sleep(0.02)


def _without_backends_words(record: Mapping[str, Any]) -> dict[str, Any]:
    def cleaned(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: "..." if key == "reason" and item != "unloaded" else cleaned(item) for key, item in value.items()
            }
        if isinstance(value, list):
            return [cleaned(item) for item in value]
        return _BACKENDS_WORDS.sub(r"\1...", value) if isinstance(value, str) else value

    body = record.get("body")
    if not body:
        return dict(cleaned(dict(record)))
    return {**record, "body": json.dumps(cleaned(json.loads(body)), separators=(",", ":"))}


def post(name: str, path: str, document: Any = None) -> Question:
    """`document`: text as it is, anything else as JSON, None for no body."""
    if document is not None and not isinstance(document, str):
        document = json.dumps(document)
    return Question(name, path, None if document is None else document.encode())


def load(name: str, model: str, document: Any = None) -> Question:
    return post(f"{name}: load {model}", f"/v2/repository/models/{model}/load", document)


def unload(name: str, model: str, document: Any = None) -> Question:
    return post(f"{name}: unload {model}", f"/v2/repository/models/{model}/unload", document)


def index(when: str) -> Iterator[AnyQuestion]:
    yield post(f"index {when}", "/v2/repository/index")
    yield post(f"ready index {when}", "/v2/repository/index", {"ready": True})
    yield rpc(f"index {when}", "RepositoryIndex", pb.RepositoryIndexRequest())


def rpc(name: str, method: str, message: Message) -> grpc_questions.Question:
    return grpc_questions.Question(f"{name}: {method}", method, [message])


def about(when: str, model: str) -> Iterator[AnyQuestion]:
    """Everything that can be asked about one model."""
    for suffix in ("", "/ready", "/config", "/stats", "/versions/1", "/versions/1/ready", "/versions/9"):
        question = get(f"/v2/models/{model}{suffix}")
        yield Question(f"{when}: {question.name}", question.path, method="GET")
    for version in ("", "/versions/1", "/versions/9"):
        yield post(f"{when}: infer {model}{version}", f"/v2/models/{model}{version}/infer", INFER_MATRIX)
    yield rpc(f"{when}: {model}", "ModelReady", pb.ModelReadyRequest(name=model))
    yield rpc(f"{when}: {model}", "ModelConfig", pb.ModelConfigRequest(name=model))
    yield rpc(f"{when}: {model}", "ModelMetadata", pb.ModelMetadataRequest(name=model))
    yield rpc(f"{when}: {model}", "ModelStatistics", pb.ModelStatisticsRequest(name=model))
    yield Question(f"{when} {model}: server ready", "/v2/health/ready", method="GET")


def _of_mode_none() -> Iterator[AnyQuestion]:
    for name in ("matrix", "nope"):
        yield load("not allowed", name)
        yield unload("not allowed", name)
        yield rpc(f"not allowed {name}", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=name))
        yield rpc(f"not allowed {name}", "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=name))
    yield load("not allowed, with half a document", "matrix", "{")
    yield from index("with everything loaded")


def _never_loaded() -> Iterator[AnyQuestion]:
    yield from index("at first")
    yield from about("never loaded", "simple")
    yield unload("never loaded", "simple")
    yield unload("unknown", "nope")


def _models_that_cannot_be_loaded() -> Iterator[AnyQuestion]:
    for name in ("nope", "unreadable", "no_version", "unknown_field"):
        yield load("cannot", name)
        yield rpc(f"cannot: {name}", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=name))
    yield rpc("no name", "RepositoryModelLoad", pb.RepositoryModelLoadRequest())
    yield from index("after failures")
    for name in ("unreadable", "no_version", "unknown_field"):
        yield from about("failed", name)
        yield unload("failed", name)
    yield from index("after failures were unloaded")


def _loaded() -> Iterator[AnyQuestion]:
    yield load("first", "identity_fp32")
    yield load("unchanged", "identity_fp32")
    yield load("first", "two_versions")
    yield rpc("unchanged: matrix", "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="matrix"))
    yield from index("with three models")
    yield from about("loaded", "matrix")
    yield Question("loaded: two versions", "/v2/models/two_versions", method="GET")


def _overrides(form: Form) -> Iterator[AnyQuestion]:
    config = {
        "backend": form.backend,
        "max_batch_size": 0,
        "input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [2, 3]}],
        "output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [2, 3]}],
        "instance_group": [{"kind": "KIND_CPU", "count": 2}],
        "parameters": {"mine": {"string_value": "1"}},
    }
    text = json.dumps(config)
    yield load("override", "matrix", {"parameters": {"config": text}})
    yield from about("overridden", "matrix")
    for bad in BAD_CONFIGS:
        yield load(f"override {bad}", "matrix", {"parameters": {"config": bad}})
    yield rpc("override {", "RepositoryModelLoad", _load_message("matrix", config=_parameter(string_param="{")))
    yield load("override of nobody", "nope", {"parameters": {"config": text}})
    yield from index("after overrides")
    content = base64.b64encode(form.identity).decode()
    file = {"config": text, f"file:7/{form.file}": content}
    yield load("file without config", "matrix", {"parameters": {f"file:1/{form.file}": content}})
    yield load("files", "matrix", {"parameters": file})
    yield from index("with files of a request")
    yield post("infer with files of a request", "/v2/models/matrix/infer", INFER_MATRIX)
    for path in ("../x", "1/../../x"):
        yield load(f"file {path}", "matrix", {"parameters": {**file, f"file:{path}": content}})
    yield load("from the repository again", "matrix")
    yield from index("without files of a request")
    new = rpc(
        "new from files",
        "RepositoryModelLoad",
        _load_message(
            "brand_new",
            config=_parameter(string_param=text),
            **{f"file:1/{form.file}": _parameter(bytes_param=form.identity)},
        ),
    )
    yield new
    yield post("infer new from files", "/v2/models/brand_new/infer", INFER_MATRIX)
    yield unload("new from files", "brand_new")
    yield load("new from files is gone", "brand_new")


def _unloaded() -> Iterator[AnyQuestion]:
    yield unload("loaded", "matrix")
    yield from index("after an unload")
    yield from about("unloaded", "matrix")
    yield unload("once more", "matrix")
    yield unload("with dependents", "two_versions", {"parameters": {"unload_dependents": True}})
    yield from index("after two unloads")
    yield load("again", "matrix")
    yield from about("loaded again", "matrix")


def _parameters() -> Iterator[AnyQuestion]:
    for body in BODIES:
        yield load(f"body {body}", "matrix", body)
    for body in WRONG_BODIES:
        yield load(f"body {body}", "matrix", body)
    for value in (1, {}, None, True):
        yield load(f"config {value}", "matrix", {"parameters": {"config": value}})
        yield load(f"file {value}", "matrix", {"parameters": {"file:1/x": value}})
        yield load(f"other {value}", "matrix", {"parameters": {"other": value}})
    yield load("other", "matrix", {"parameters": {"other": "x"}})
    yield load("file alone", "matrix", {"parameters": {"file": "x"}})
    for name, parameter in (
        ("config", _parameter(int64_param=1)),
        ("config", _parameter(bytes_param=b"{}")),
        ("config", _parameter()),
        ("other", _parameter(string_param="x")),
        ("other", _parameter(int64_param=1)),
        ("file:1/x", _parameter(string_param="aGFsbG8=")),
    ):
        title = f"load {name} {str(parameter).strip() or 'nothing'}"
        yield rpc(title, "RepositoryModelLoad", _load_message("matrix", **{name: parameter}))
    for body in (*BODIES, *WRONG_BODIES, '{"parameters":{"unload_dependents":"true"}}', '{"parameters":{"other":1}}'):
        yield unload(f"body {body}", "identity_fp32", body)
    for parameter in (_parameter(string_param="true"), _parameter(int64_param=1), _parameter()):
        message = pb.RepositoryModelUnloadRequest(model_name="matrix", parameters={"unload_dependents": parameter})
        yield rpc(f"unload {str(parameter).strip() or 'nothing'}", "RepositoryModelUnload", message)
    message = pb.RepositoryModelUnloadRequest(model_name="nope", parameters={"other": _parameter(bool_param=True)})
    yield rpc("unload other", "RepositoryModelUnload", message)


def _paths() -> Iterator[AnyQuestion]:
    for path in (
        *("/v2/repository/x/models/matrix/load", "/v2/repository/x/models/matrix/unload", "/v2/repository/x/index"),
        *("/v2/repository/models/matrix/other", "/v2/repository/models/matrix", "/v2/repository/models/index"),
        *("/v2/repository/models/matrix/load/", "/v2/repository/models/matrix/versions/1/load", "/v2/repository"),
        *("/v2/repository/x/y/models/matrix/load", "/v2/repository/models//load", "/v2/repository/models/a/b/load"),
    ):
        yield post(f"POST {path}", path)
    for path in ("/v2/repository/models/matrix/load", "/v2/repository/models/matrix/unload", "/v2/repository/index"):
        yield get(path)
    for kind in ("Load", "Unload"):
        message = getattr(pb, f"RepositoryModel{kind}Request")(repository_name="x", model_name="matrix")
        yield rpc("repository name", f"RepositoryModel{kind}", message)
    yield rpc("repository name", "RepositoryIndex", pb.RepositoryIndexRequest(repository_name="x"))


def _load_message(model: str, **parameters: Message) -> Message:
    return pb.RepositoryModelLoadRequest(model_name=model, parameters=parameters)


def _parameter(**value: Any) -> Message:
    return pb.ModelRepositoryParameter(**value)


def _matrix_config(form: Form) -> str:
    tensors = "".join(
        f'{side} [ {{ name: "{side.upper()}0" data_type: TYPE_FP32 dims: [ 2, 3 ] }} ]\n'
        for side in ("input", "output")
    )
    return f'backend: "{form.backend}"\nmax_batch_size: 0\n{tensors}instance_group [ {{ kind: KIND_CPU }} ]\n'
