"""What both servers are asked about restricted APIs: how the options may be written, and who gets in."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2

HTTP, GRPC = "--http-restricted-api", "--grpc-restricted-protocol"

GROUPS = (
    f"{HTTP}=metadata,model-repository,inference,shared-memory,model-config,trace,logging:X-Secret=s3cret",
    f"{HTTP}=health:other=two words",
    f"{HTTP}=statistics:od:d=a=b:c",
    f"{GRPC}=metadata,model-repository,inference,shared-memory,model-config,trace,logging:secret=s3cret",
    f"{GRPC}=health:other=two words",
    f"{GRPC}=statistics:blob-bin=abc",
)
"""How the servers that are asked are started."""

REFUSED = (
    *("", "health", "health:", "health:key", "health:key=", "health:=value", "health:=", "=v", ":k=v"),
    *("health,key=value", "Health:key=value", " health:key=value", "health :key=value", "health, metadata:key=value"),
    *("health,:key=value", ",health:key=value", "health,health:key=value", "nope:key=value", "metrics:key=value"),
    *("shared_memory:k=v", "a:b:c=d"),
)
"""Values of which either option says that they are wrong."""

TWICE = (
    ("health:a=b", "health:a=b"),
    ("health:a=b", "health:c=d"),
    ("health:a=b", "metadata,health:a=b"),
)
TAKEN = (
    *("metadata:key=va=lue", "inference:ke:y=value", "shared-memory: key=value", "model-config:key =value"),
    *("model-repository:key= value", "statistics:Key=Value", "trace:a b=c", "logging,health:k=v:w="),
)
"""With these together the servers start."""


@dataclass(frozen=True)
class HttpQuestion:
    """Headers as they are sent, in their order."""

    name: str
    method: str
    path: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None


@dataclass(frozen=True)
class GrpcQuestion:
    """One call; of a stream, its messages."""

    name: str
    method: str
    messages: Sequence[Message]
    metadata: Sequence[tuple[str, str | bytes]] = ()


SECRET = ("X-Secret", "s3cret")
OTHER = ("other", "two words")
ODD = ("od:d", "a=b:c")
INFER = b'{"inputs":[{"name":"IN","datatype":"FP32","shape":[1,1],"data":[1]}]}'

PATHS = (
    ("GET", "/v2", None),
    *(("GET", f"/v2/health/{one}", None) for one in ("live", "ready")),
    *(("GET", f"/v2/models/{one}/ready", None) for one in ("identity", "nope", "identity/versions/1")),
    *(("GET", f"/v2/models/{one}", None) for one in ("identity", "nope", "identity/versions/1", "identity/versions/9")),
    ("GET", "/v2/models/identity/config", None),
    ("GET", "/v2/models/identity/stats", None),
    ("GET", "/v2/models/stats", None),
    ("POST", "/v2/models/identity/infer", INFER),
    ("POST", "/v2/models/identity/versions/1/infer", INFER),
    ("POST", "/v2/models/identity/infer", b"rubbish"),
    ("POST", "/v2/models/nope/infer", INFER),
    ("POST", "/v2/models/identity/generate", b"{}"),
    ("POST", "/v2/models/identity/generate_stream", b"{}"),
    ("POST", "/v2/repository/index", b""),
    ("POST", "/v2/repository/models/identity/load", b""),
    ("POST", "/v2/repository/models/identity/unload", b""),
    ("POST", "/v2/repository/one/models/identity/unload", b""),
    *(("GET", f"/v2/{one}sharedmemory/status", None) for one in ("system", "cuda")),
    *(("POST", f"/v2/{one}sharedmemory/unregister", b"") for one in ("system", "cuda")),
    ("POST", "/v2/systemsharedmemory/region/r/register", b"{}"),
    ("GET", "/v2/trace/setting", None),
    ("GET", "/v2/models/identity/trace/setting", None),
    ("GET", "/v2/logging", None),
    ("POST", "/v2/logging", b"{}"),
    # the wrong method, and nowhere
    ("DELETE", "/v2", None),
    ("POST", "/v2/health/live", b""),
    ("GET", "/v2/models/identity/infer", None),
    ("GET", "/v2/repository/index", None),
    ("GET", "/v2/nothing", None),
    ("GET", "/nope", None),
    ("GET", "/v2/models/identity/versions/x", None),
    ("GET", "/metrics", None),
)


def http() -> Iterator[HttpQuestion]:
    """Over HTTP."""
    for method, path, body in PATHS:
        yield HttpQuestion(f"{method} {path} {body!r}", method, path, (), body)
        yield HttpQuestion(
            f"{method} {path} {body!r} with another's value", method, path, (("X-Secret", "two words"),), body
        )
    everything = (SECRET, OTHER, ODD)
    for method, path, body in PATHS:
        if not path.endswith("load") and "memory" not in path and "trace" not in path and "logging" not in path:
            yield HttpQuestion(f"{method} {path} {body!r} with all values", method, path, everything, body)
    for headers in (
        *((("x-secret", "s3cret"),), (("X-SECRET", "s3cret"),), (("X-Secret", "  s3cret  "),)),
        *((("X-Secret", "S3cret"),), (("X-Secret", ""),), (("X-Secret", "s3cre"),), (("X-Secret", "s3cret2"),)),
        *((("X-Secret", "wrong"), SECRET), (SECRET, ("X-Secret", "wrong")), (SECRET, SECRET)),
        *((("X-Secret", "s3cret, wrong"),), (("X_Secret", "s3cret"),), (("X-Secret", '"s3cret"'),), (OTHER,)),
        *((("X-Secret", "s3cret\x00"),), (("Triton-Grpc-Protocol-X-Secret", "s3cret"),)),
    ):
        yield HttpQuestion(f"metadata with {headers}", "GET", "/v2", headers)
    for value in ("two words", "two  words", "two\twords", "Two Words"):
        yield HttpQuestion(f"health with {value!r}", "GET", "/v2/health/live", (("Other", value),))


def _requests() -> dict[str, Any]:
    infer = service_pb2.ModelInferRequest(
        model_name="identity",
        inputs=[service_pb2.ModelInferRequest.InferInputTensor(name="IN", datatype="FP32", shape=[1, 1])],
        raw_input_contents=[struct.pack("<f", 1)],
    )
    named = {"ModelReady": "name", "ModelMetadata": "name", "ModelConfig": "name", "ModelStatistics": "name"}
    named |= {"RepositoryModelLoad": "model_name", "RepositoryModelUnload": "model_name"}
    plain = (
        *("ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex", "TraceSetting", "LogSettings"),
        *("SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
        *("CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"),
    )
    requests = {name: getattr(service_pb2, f"{name}Request")() for name in plain}
    for name, member in named.items():
        requests[name] = getattr(service_pb2, f"{name}Request")(**{member: "identity"})
    return {**requests, "ModelInfer": infer, "ModelStreamInfer": infer}


CHANGING = (
    *("RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
    *("SystemSharedMemoryRegister", "CudaSharedMemoryRegister", "CudaSharedMemoryStatus"),
)
PREFIX = "triton-grpc-protocol-"
KEY = (f"{PREFIX}secret", "s3cret")


def grpc() -> Iterator[GrpcQuestion]:
    """Over gRPC."""
    requests = _requests()
    everything = (KEY, (f"{PREFIX}other", "two words"), (f"{PREFIX}blob-bin", b"abc"))
    for name, message in requests.items():
        messages = [message] * (2 if name == "ModelStreamInfer" else 1)
        yield GrpcQuestion(name, name, messages)
        yield GrpcQuestion(f"{name} with another's value", name, messages, ((f"{PREFIX}secret", "two words"),))
        if name not in CHANGING and "Memory" not in name:
            yield GrpcQuestion(f"{name} with all values", name, messages, everything)
    yield GrpcQuestion("a stream without messages", "ModelStreamInfer", [])
    for name in ("Check", "Check with all values"):
        yield GrpcQuestion(f"health {name}", "Check", [], everything if "all" in name else ())
    wrong = (f"{PREFIX}secret", "wrong")
    for metadata in (
        *((("secret", "s3cret"),), (("x-secret", "s3cret"),), (KEY, wrong), (wrong, KEY), (KEY, KEY)),
        *(((KEY[0], "S3cret"),), ((KEY[0], ""),), ((KEY[0], "s3cre"),), ((KEY[0], "s3cret,wrong"),)),
        *(((KEY[0], " s3cret"),), ((KEY[0], "s3cret "),)),
    ):
        yield GrpcQuestion(f"metadata with {metadata}", "ServerMetadata", [requests["ServerMetadata"]], metadata)
    for value in (b"abc", b"YWJj", b"", b"\xff"):
        metadata = ((f"{PREFIX}blob-bin", value),)
        yield GrpcQuestion(f"statistics with {value!r}", "ModelStatistics", [requests["ModelStatistics"]], metadata)
