"""What is asked of SageMaker's and Vertex AI's endpoints, in this order: each list is one server's."""

import gzip
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.conformance.questions import HEADER_LENGTH, Question

FOLDER = "FOLDER"
"""Stands for the folder of archives, in questions and in records."""

PLAIN = {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
SIZED = {"inputs": [{**PLAIN["inputs"][0], "parameters": {"binary_data_size": 8}}]}
del SIZED["inputs"][0]["data"]
BINARY_OUT = [{"name": "OUT", "parameters": {"binary_data": True}}]
HEAD = json.dumps({**SIZED, "outputs": BINARY_OUT}).encode()
DATA = struct.pack("<2f", 1, 2)
SAGEMAKER = "application/vnd.sagemaker-triton.binary+json;json-header-size="
VERTEX = "application/vnd.vertex-ai-triton.binary+json;json-header-size="
OUT_OF_MEMORY = (
    *("CUDA out of memory", "CUDA_OUT_OF_MEMORY", "Out of memory", "Out Of Memory", "MemoryError", "out of memory"),
    *("Src tensor is not initialized", "Dst tensor is not initialized", "CNMEM_STATUS_OUT_OF_MEMORY"),
    *("CUDNN_STATUS_NOT_INITIALIZED", "CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED"),
    *("Failed to allocate memory", "failed to allocate memory", "No space left on device", "OutOfMemory", "OOM"),
    *("OUT OF MEMORY", "oom", "outofmemory", "memory error", "Memory", "nothing of the kind"),
)


def ask(
    method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, title: str = ""
) -> Question:
    """`title`: what to add to the method and the path, so that the name is the question's own."""
    if body is not None and not isinstance(body, bytes):
        body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Question(f"{method} {path} {title}".rstrip(), path, body, method, headers or {})


def sizes(path: str, media_type: str) -> Iterator[Question]:
    """The same body, with what its media type may say of its JSON."""
    size = len(HEAD)
    told = (size, 0, "x", "", size + 100, -1, "9" * 22, f"{size};x=y", f" {size}", f"{size}x", f"+{size}")
    values = [f"{media_type}{one}" for one in told]
    values += [media_type.replace(";", "; ") + str(size), media_type.upper() + str(size)]
    values += ["application/octet-stream", "application/json"]
    for value in values:
        yield ask("POST", path, HEAD + DATA, {"Content-Type": value}, title=value)
    yield ask("POST", path, HEAD + DATA, {HEADER_LENGTH: str(size)}, title=HEADER_LENGTH)
    yield ask("POST", path, DATA, {"Content-Type": f"{media_type}0"}, title="raw")
    yield ask("POST", path, {**PLAIN, "outputs": BINARY_OUT}, title="JSON in, binary out")


def bodies(path: str) -> Iterator[Question]:
    yield ask("POST", path, PLAIN, title="JSON")
    yield ask("POST", path, {"id": "a", **PLAIN}, title="with an id")
    yield ask("POST", path, "{", title="broken JSON")
    yield ask("POST", path, {"inputs": []}, title="no inputs")
    yield ask(
        "POST", path, gzip.compress(json.dumps(PLAIN).encode(), mtime=0), {"Content-Encoding": "gzip"}, title="gzip"
    )
    yield ask("POST", path, PLAIN, {"Content-Encoding": "br"}, title="br that is none")
    yield ask("POST", path, PLAIN, {"Accept-Encoding": "gzip"}, title="gzip accepted")


def elsewhere(paths: Sequence[str]) -> Iterator[Question]:
    """Methods and paths that are not meant."""
    for path in paths:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            yield ask(method, path, title="unexpectedly")
    for path in ("/", "/v2", "/v2/health/live", "/v2/models/same", "/metrics", "/nope"):
        yield ask("GET", path, title="elsewhere")


def single_model() -> Iterator[Question]:
    """SageMaker, one model."""
    yield ask("GET", "/ping")
    yield from elsewhere(["/ping"])
    yield ask("GET", "/ping/")
    for method in ("GET", "PUT", "DELETE"):
        yield ask(method, "/invocations")
    yield from bodies("/invocations")
    yield from sizes("/invocations", SAGEMAKER)
    for target in ("other", "nope"):
        yield ask("POST", "/invocations", PLAIN, _target(target), title=f"for {target}")
    yield ask("GET", "/models")
    yield ask("GET", "/models/same")
    yield ask("POST", "/models/same/invoke", PLAIN)
    yield load("m", "a")


def load(name: Any, archive: str, target: str = "", *, again: str = "") -> Question:
    url = archive if archive.startswith(("/", ".")) or not archive else f"{FOLDER}/{archive}"
    title = f"{name} from {archive or 'nowhere'} as {target or name} {again}"
    return ask("POST", "/models", {"model_name": name, "url": url}, _target(target), title=title)


def _target(name: str) -> dict[str, str]:
    return {"X-Amzn-SageMaker-Target-Model": name} if name else {}


def multi_model() -> Iterator[Question]:
    """SageMaker, many models."""
    yield ask("GET", "/ping")
    yield ask("GET", "/models", title="before")
    yield ask("GET", "/models/")
    yield ask("POST", "/invocations", PLAIN)
    for method in ("PUT", "PATCH"):
        yield ask(method, "/models")
        yield ask(method, "/models/h")
    yield ask("DELETE", "/models")
    yield ask("DELETE", "/models/h", title="before")
    yield ask("GET", "/models/a/b")
    yield load("h1", "b")
    yield ask("GET", "/models", title="one")
    yield ask("GET", "/models/h1", title="loaded")
    yield from bodies("/models/h1/invoke")
    yield from sizes("/models/h1/invoke", SAGEMAKER)
    yield ask("POST", "/models/h1/invoke", PLAIN, _target("nope"), title="for nope")
    yield load("h1", "b", again="again")
    yield load("h1", "c", again="from elsewhere")
    yield load("h2", "b")
    yield load("h2", "named")
    yield ask("POST", "/models/h2/invoke", PLAIN, title="whose configuration has a name")
    yield load("h3", "a", "first.tar.gz")
    yield ask("POST", "/models/h3/invoke", PLAIN, _target("first.tar.gz"), title="as target")
    yield ask("POST", "/models/h3/invoke", PLAIN, _target("h1"), title="as another")
    yield ask("DELETE", "/models/h3", headers=_target("first.tar.gz"))
    yield ask("GET", "/models/h3", title="unloaded")
    yield load("h4", "ensemble")
    yield ask("POST", "/models/h4/invoke", PLAIN, title="of an ensemble")
    yield ask("DELETE", "/models/h4")
    for archive in ("broken", "large", "nope", "", "/nowhere", "../../nowhere", "several"):
        yield load("h5", archive)
        if archive != "several":
            yield ask("GET", "/models/h5", title=f"after {archive or 'nowhere'}")
            yield ask("POST", "/models/h5/invoke", PLAIN, title=f"after {archive or 'nowhere'}")
            yield ask("DELETE", "/models/h5", title=f"after {archive or 'nowhere'}")
    yield load("moody", "moody")
    for text in OUT_OF_MEMORY:
        asked = {"inputs": [{"name": "IN", "datatype": "BYTES", "shape": [1, 1], "data": [f"it is {text}!"]}]}
        yield ask("POST", "/models/moody/invoke", asked, title=text)
    yield ask("DELETE", "/models/h1")
    yield ask("GET", "/models/h1", title="after unload")
    yield ask("POST", "/models/h1/invoke", PLAIN, title="after unload")
    yield ask("DELETE", "/models/h1", title="again")
    yield load("h1", "b", again="after unload")
    yield ask("POST", "/models/h1/invoke", PLAIN, title="loaded again")
    for body in ("", "{}", "[]", '{"model_name":"x"}'):
        yield ask("POST", "/models", body, title=body or "nothing")
    yield ask("GET", "/ping", title="in the end")


DEADLY = ("{", "nonsense", {"model_name": 1, "url": "/x"}, {"model_name": "x", "url": 1})
"""Bodies of POST /models of which the real server (2.51) dies."""

REDIRECTS = (
    *("v2", "v2/health/live", "v2/health/ready", "v2/models/same", "v2/models/same/versions/1", "v2/models/same/ready"),
    *("v2/models/same/config", "v2/models/stats", "v2/models/same/stats", "v2/models/nope", "v2/models/nope/ready"),
    *("v2/models/other/infer", "v2/models/other/versions/1/infer", "v2/models/nope/infer", "v2/repository/index"),
    *("v2/repository/models/same/load", "v2/repository/models/same/unload", "v2/systemsharedmemory/status"),
    *("v2/logging", "v2/trace/setting", "v2/models/same/trace/setting", "", "/v2", "v2/", "v2/models", "v2/nope"),
    *("nope", "predict", "metrics/", "v2?x=1", "http://x/v2", "../v2", "v2/models/same/generate"),
)


def vertex() -> Iterator[Question]:
    """Vertex AI."""
    yield ask("GET", "/health")
    yield from elsewhere(["/health"])
    yield ask("GET", "/predict/x")
    for method in ("GET", "PUT", "DELETE"):
        yield ask(method, "/predict")
    yield from bodies("/predict")
    yield from sizes("/predict", VERTEX)
    for path in REDIRECTS:
        yield ask("POST", "/predict", PLAIN, {"X-Vertex-Ai-Triton-Redirect": path}, title=f"to {path or 'nowhere'}")
    there = {"X-Vertex-Ai-Triton-Redirect": "v2/models/other/infer"}
    yield ask("POST", "/predict", HEAD + DATA, {**there, "Content-Type": f"{VERTEX}{len(HEAD)}"}, title="binary, other")
    yield ask("POST", "/predict", HEAD + DATA, {**there, HEADER_LENGTH: str(len(HEAD))}, title="by header, other")
    yield ask("GET", "/predict", headers=there, title="other")
    yield ask("GET", "/health", headers=there, title="other")
    yield ask("POST", "/nope", headers=there, title="other")


SERVERS = {"single": single_model, "multi": multi_model, "vertex": vertex}
