"""Models that cannot be loaded: what is said of them, and that the others are served when that is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from tests.conformance.models import write_onnx_repository
from tests.conformance.onnx_models import identity_model
from tests.conformance.process import ServerProcess, start_atoll
from tritonclient.grpc import service_pb2, service_pb2_grpc

TENSORS = "".join(
    f'{side} [ {{ name: "{side.upper()}0" data_type: TYPE_FP32 dims: [ 4 ] }} ]\n' for side in ("input", "output")
)
ONNX = 'backend: "onnxruntime"\n'


@dataclass(frozen=True)
class Broken:
    """A model directory, and what the log must say of it. `config` None: no config.pbtxt; `file` None: no version."""

    says: tuple[str, ...]
    config: str | None = ONNX + TENSORS
    file: str | None = "model.onnx"
    data: bytes | None = None


BROKEN = {
    "wrong_value": Broken(("wrong_value/config.pbtxt:2:17", '"x"'), ONNX + 'max_batch_size: "x"\n'),
    "unknown_field": Broken(("unknown_field/config.pbtxt:2:1", "unknown field 'foo'"), ONNX + "foo: 1\n"),
    "other_name": Broken(
        ("unexpected directory name 'other_name' for model 'else', directory name must equal model name",),
        'name: "else"\n' + ONNX + TENSORS,
    ),
    "negative": Broken(
        ("'max_batch_size' must be non-negative value for negative",), ONNX + "max_batch_size: -1\n" + TENSORS
    ),
    "preferred_too_big": Broken(
        ("dynamic batching preferred size must be <= max batch size for preferred_too_big",),
        ONNX + "max_batch_size: 4\ndynamic_batching { preferred_batch_size: [ 8 ] }\n" + TENSORS,
    ),
    "no_gpu": Broken(("'no_gpu", "KIND_CPU"), ONNX + "instance_group [ { kind: KIND_GPU } ]\n" + TENSORS),
    "no_backend": Broken(
        ("Could not determine backend for model 'no_backend' with no backend in model configuration",),
        None,
        "weights.bin",
    ),
    "unknown_backend": Broken(
        ("unable to find backend library for backend 'nope'", "Installed backends: "), 'backend: "nope"\n' + TENSORS
    ),
    "no_version": Broken(
        ("at least one version must be available under the version policy of model 'no_version'",), file=None
    ),
    "no_onnx": Broken(("no_onnx/1/model.onnx",), data=b"not a model"),
    "wrong_tensor": Broken(("wrong_tensor/config.pbtxt", "'X'"), ONNX + TENSORS.replace("INPUT0", "X")),
}


UNREADABLE = ("wrong_value", "unknown_field")
"""Their configurations cannot be read: to the real server they are unknown, the others are only not available."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`simple`, and the broken ones."""
    root = write_onnx_repository(tmp_path_factory.mktemp("broken") / "models", "simple")
    for name, broken in BROKEN.items():
        (root / name).mkdir()
        if broken.config is not None:
            (root / name / "config.pbtxt").write_text(broken.config)
        if broken.file is not None:
            (root / name / "1").mkdir()
            (root / name / "1" / broken.file).write_bytes(broken.data or identity_model("fp32", [4]))
    return root


@pytest.fixture(scope="module", params=["true", "false"])
def server(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("log") / "log"
    options = ("--exit-on-error=false", f"--strict-readiness={request.param}")
    with start_atoll(repository, log, *options, wait_ready=False) as server:
        yield server


def is_strict(server: ServerProcess) -> bool:
    return "--strict-readiness=true" in server.process.args  # type: ignore[operator]


def test_it_does_not_start_and_says_why(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="before the server ended"):
        start_atoll(repository, tmp_path / "log")
    log = (tmp_path / "log").read_text()
    assert "Started" not in log
    for name, broken in BROKEN.items():
        for text in broken.says:
            assert text in log, f"{name}: the log does not say {text!r}:\n{log}"


@pytest.mark.parametrize("name", BROKEN)
def test_the_cause_is_in_the_log(server: ServerProcess, name: str) -> None:
    log = server.log_text()
    for text in BROKEN[name].says:
        assert text in log, log


def test_the_others_are_served(server: ServerProcess) -> None:
    assert server.exchange("GET", "/v2/health/live").status == 200
    assert server.exchange("GET", "/v2/models/simple/ready").status == 200
    assert server.exchange("GET", "/v2/models/simple").json()["name"] == "simple"


def test_readiness_is_strict_or_not(server: ServerProcess) -> None:
    answer = server.exchange("GET", "/v2/health/ready")
    assert (answer.status, answer.body) == (400 if is_strict(server) else 200, b"")
    with grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=30).ready is not is_strict(server)
        assert stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=30).live


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_refused_in_the_real_servers_words(server: ServerProcess, name: str) -> None:
    ready = server.exchange("GET", f"/v2/models/{name}/ready")
    assert (ready.status, ready.error) == (400, "Model version not ready")
    statistics = server.exchange("GET", f"/v2/models/{name}/stats")
    assert (statistics.status, statistics.error) == (400, f"requested model '{name}' is not available")
    text = (
        f"Request for unknown model: '{name}' {'is not found' if name in UNREADABLE else 'has no available versions'}"
    )
    for path in ("", "/config"):
        answer = server.exchange("GET", f"/v2/models/{name}{path}")
        assert answer.status == 404
        assert text in answer.error
    answer = server.exchange("POST", f"/v2/models/{name}/infer", body=b"{}")
    assert answer.status == 404
    assert text in answer.error
    with grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert not stub.ModelReady(service_pb2.ModelReadyRequest(name=name), timeout=30).ready
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(service_pb2.ModelInferRequest(model_name=name), timeout=30)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert text in caught.value.details()


def test_an_unknown_repository_or_option_ends_it(tmp_path: Path) -> None:
    for arguments in (("--model-repository=/nonexistent",), ("--no-such-option",), ("--strict-readiness=maybe",)):
        with pytest.raises(AssertionError, match="before the server ended"):
            start_atoll(tmp_path, tmp_path / "log", *arguments)
        assert arguments[0].partition("=")[2] in (tmp_path / "log").read_text()
