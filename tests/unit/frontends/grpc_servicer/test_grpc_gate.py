"""The gate of gRPC, over both transports: restricted protocols, keys, models of each message, rates."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import numpy as np
import pytest
from tests.unit.frontends.access.key_files import key_text, put
from tests.unit.frontends.grpc_servicer.conftest import Engine, Serving
from tritonclient.grpc import service_pb2 as triton

from atoll.frontends.access.control import AccessControl
from atoll.frontends.access.keyring import KeyRing
from atoll.frontends.access.restrictions import grpc_restrictions
from atoll.frontends.access_log import AccessLog
from atoll.frontends.apis import Api
from atoll.frontends.grpc.apis import API_OF
from atoll.frontends.grpc.servicer import Servicer

KEYS = (
    {"name": "all", "key": "key-all"},
    {"name": "admin", "key": "key-admin", "scopes": ["admin"]},
    {"name": "some", "key": "key-some", "models": ["at_*", "th*", "ec*"], "scopes": ["admin"]},
    {"name": "slow", "key": "key-slow", "requests_per_second": 0.001, "burst": 2},
)
Ask = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    put(tmp_path / "keys", key_text(*KEYS))
    return tmp_path / "keys"


@pytest.fixture
def ring(path: Path) -> KeyRing:
    return KeyRing(str(path))


@pytest.fixture
def keyed(serve: Callable[..., Serving], ring: KeyRing) -> Serving:
    return serve(access=AccessControl({}, {}, ring, frozenset((Api.HEALTH,))))


def infer_request(model: str, id: str = "") -> triton.ModelInferRequest:
    request = triton.ModelInferRequest(model_name=model, id=id)
    request.inputs.add(name="IN", datatype="FP32", shape=(1, 1))
    request.raw_input_contents.append(np.float32(1).tobytes())
    return request


def by(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer key-{key}"),)


def outcome(call: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[str, str, dict[str, Any]]:
    """Status, text and trailing metadata."""
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return error.code().name, error.details() or "", dict(error.trailing_metadata() or ())
    return "OK", "", {}


async def test_each_procedure_belongs_to_an_api() -> None:
    servicer = Servicer(Engine(), asyncio.get_running_loop())  # type: ignore[arg-type]
    assert set(servicer.unary) | set(servicer.stream) == set(API_OF)
    servicer.close()


# ---- keys


def test_a_key_is_asked_for_except_for_health(keyed: Serving) -> None:
    stub = keyed.stub
    for name, request in (
        ("ServerMetadata", triton.ServerMetadataRequest()),
        ("ModelInfer", infer_request("at_once")),
        ("RepositoryIndex", triton.RepositoryIndexRequest()),
    ):
        status, text, _ = outcome(getattr(stub, name), request)
        assert (status, "an API key is needed" in text) == ("UNAUTHENTICATED", True), name
    assert outcome(lambda: list(stub.ModelStreamInfer(iter([]))))[0] == "UNAUTHENTICATED"
    assert outcome(stub.ServerLive, triton.ServerLiveRequest())[0] == "OK"
    ready = triton.ModelReadyRequest(name="soon")
    assert outcome(stub.ModelReady, ready)[0] == "UNAUTHENTICATED", "it tells whether there is such a model"
    assert outcome(stub.ModelReady, ready, metadata=by("some"))[0] == "PERMISSION_DENIED"
    assert outcome(stub.ModelReady, ready, metadata=by("all"))[0] == "OK"


@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        (by("all"), "OK"),
        ((("x-api-key", "key-all"),), "OK"),
        (by("unknown"), "UNAUTHENTICATED"),
        ((("x-api-key", "key-all"), ("x-api-key", "key-admin")), "UNAUTHENTICATED"),
        ((("authorization", "Basic abc"),), "UNAUTHENTICATED"),
        ((("x-api-key-bin", b"key-all"),), "UNAUTHENTICATED"),
    ],
)
def test_where_the_key_may_stand(keyed: Serving, metadata: Any, status: str) -> None:
    got, text, _ = outcome(keyed.stub.ServerMetadata, triton.ServerMetadataRequest(), metadata=metadata)
    assert got == status
    assert "key-" not in text


@pytest.mark.parametrize(
    ("key", "name", "request_", "status"),
    [
        ("all", "ModelInfer", infer_request("at_once"), "OK"),
        ("all", "RepositoryIndex", triton.RepositoryIndexRequest(), "PERMISSION_DENIED"),
        ("all", "RepositoryModelLoad", triton.RepositoryModelLoadRequest(model_name="at_once"), "PERMISSION_DENIED"),
        ("all", "SystemSharedMemoryStatus", triton.SystemSharedMemoryStatusRequest(), "PERMISSION_DENIED"),
        ("all", "LogSettings", triton.LogSettingsRequest(), "PERMISSION_DENIED"),
        ("admin", "RepositoryIndex", triton.RepositoryIndexRequest(), "OK"),
        ("some", "ModelInfer", infer_request("at_once"), "OK"),
        ("some", "ModelInfer", infer_request("soon"), "PERMISSION_DENIED"),
        ("some", "ModelInfer", infer_request("not there"), "PERMISSION_DENIED"),
        ("some", "ModelInfer", infer_request(""), "PERMISSION_DENIED"),
        ("some", "ModelMetadata", triton.ModelMetadataRequest(name="thread"), "OK"),
        ("some", "ModelMetadata", triton.ModelMetadataRequest(name="soon"), "PERMISSION_DENIED"),
        ("some", "ModelConfig", triton.ModelConfigRequest(name="at_once"), "OK"),
        ("some", "ModelConfig", triton.ModelConfigRequest(name="soon"), "PERMISSION_DENIED"),
        ("some", "ModelConfig", triton.ModelConfigRequest(), "PERMISSION_DENIED"),
        ("some", "ModelStatistics", triton.ModelStatisticsRequest(name="soon"), "PERMISSION_DENIED"),
        ("some", "RepositoryModelUnload", triton.RepositoryModelUnloadRequest(model_name="soon"), "PERMISSION_DENIED"),
        ("some", "TraceSetting", triton.TraceSettingRequest(), "PERMISSION_DENIED"),
        ("some", "TraceSetting", triton.TraceSettingRequest(model_name="soon"), "PERMISSION_DENIED"),
        ("some", "LogSettings", triton.LogSettingsRequest(), "PERMISSION_DENIED"),
    ],
)
def test_what_a_key_opens(keyed: Serving, key: str, name: str, request_: Any, status: str) -> None:
    got, text, _ = outcome(getattr(keyed.stub, name), request_, metadata=by(key))
    assert got == status, text


def test_the_name_that_counts_is_the_one_that_is_served(keyed: Serving) -> None:
    """A field that is there twice means its last value; who checks must not look at the first."""
    first, second = (triton.ModelInferRequest(model_name=name).SerializeToString() for name in ("at_once", "soon"))
    body = infer_request("at_once").SerializeToString()
    call = keyed.channel().unary_unary("/inference.GRPCInferenceService/ModelInfer")
    for message in (body + second, first + second + body.replace(first, b"", 1)):
        assert outcome(call, message, metadata=by("some"))[0] == "PERMISSION_DENIED"
    other = triton.ModelConfigRequest(name="at_once").SerializeToString()
    wanted = triton.ModelConfigRequest(name="soon").SerializeToString()
    call = keyed.channel().unary_unary("/inference.GRPCInferenceService/ModelConfig")
    assert outcome(call, other + wanted, metadata=by("some"))[0] == "PERMISSION_DENIED"
    assert outcome(call, wanted + other, metadata=by("some"))[0] == "OK"


def test_answers_about_all_models_leave_out_the_others(keyed: Serving) -> None:
    names = {
        one.name for one in keyed.stub.ModelStatistics(triton.ModelStatisticsRequest(), metadata=by("some")).model_stats
    }
    assert names == {"at_once", "thread"}
    everything = keyed.stub.ModelStatistics(triton.ModelStatisticsRequest(), metadata=by("all")).model_stats
    assert {"soon", "at_once"} <= {one.name for one in everything}
    index = keyed.stub.RepositoryIndex(triton.RepositoryIndexRequest(), metadata=by("some")).models
    whole = keyed.stub.RepositoryIndex(triton.RepositoryIndexRequest(), metadata=by("admin")).models
    assert whole
    assert [one for one in whole if one.name == "echo"] == list(index)


def test_a_key_for_some_models_brings_nothing_of_its_own(keyed: Serving) -> None:
    load = triton.RepositoryModelLoadRequest(model_name="at_once")
    load.parameters["config"].string_param = "{}"
    unload = triton.RepositoryModelUnloadRequest(model_name="at_once")
    unload.parameters["unload_dependents"].bool_param = True
    for call, request in ((keyed.stub.RepositoryModelLoad, load), (keyed.stub.RepositoryModelUnload, unload)):
        status, text, _ = outcome(call, request, metadata=by("some"))
        assert (status, "for some models only" in text) == ("PERMISSION_DENIED", True)
        assert outcome(call, request, metadata=by("admin"))[0] != "PERMISSION_DENIED"


def test_the_rate_holds_over_calls_and_messages_of_a_stream(keyed: Serving) -> None:
    stub = keyed.stub
    assert outcome(stub.ServerMetadata, triton.ServerMetadataRequest(), metadata=by("slow"))[0] == "OK"
    requests = [infer_request("at_once", id=str(number)) for number in range(3)]
    answers = list(stub.ModelStreamInfer(iter(requests), metadata=by("slow")))
    assert [bool(one.error_message) for one in answers] == [False, True, True]
    assert "may send 0.001 requests a second" in answers[1].error_message
    assert answers[1].infer_response.id == "1"
    status, _, trailing = outcome(stub.ModelInfer, requests[0], metadata=by("slow"))
    assert status == "RESOURCE_EXHAUSTED"
    seconds = int(trailing["retry-after"])
    assert 1 <= seconds <= 1000
    assert int(trailing["grpc-retry-pushback-ms"]) == seconds * 1000
    status, _, trailing = outcome(stub.ServerMetadata, triton.ServerMetadataRequest(), metadata=by("slow"))
    assert (status, "retry-after" in trailing) == ("RESOURCE_EXHAUSTED", True)


def test_each_message_of_a_stream_is_checked_and_the_stream_goes_on(keyed: Serving) -> None:
    names = ["at_once", "soon", "not there", "thread"]
    answers = list(keyed.stub.ModelStreamInfer((infer_request(name, id=name) for name in names), metadata=by("some")))
    assert [one.infer_response.id for one in answers] == names
    assert [one.error_message for one in answers] == [
        "",
        "the API key 'some' is not for model 'soon'",
        "the API key 'some' is not for model 'not there'",
        "",
    ]


def test_a_key_that_is_taken_away_ends_with_the_next_message(keyed: Serving, ring: KeyRing, path: Path) -> None:
    requests: Queue[Any] = Queue()
    stream = keyed.stub.ModelStreamInfer(iter(requests.get, None), metadata=by("all"))
    requests.put(infer_request("at_once"))
    assert not next(stream).error_message
    put(path, key_text(KEYS[1]))
    ring.check()
    ring.check()
    requests.put(infer_request("at_once"))
    assert "not known here" in next(stream).error_message
    requests.put(None)
    assert not list(stream)
    assert outcome(keyed.stub.ModelInfer, infer_request("at_once"), metadata=by("all"))[0] == "UNAUTHENTICATED"


def test_what_is_no_message_is_the_procedures_to_refuse(keyed: Serving) -> None:
    for name in ("ModelInfer", "ModelConfig", "RepositoryModelLoad"):
        call = keyed.channel().unary_unary(f"/inference.GRPCInferenceService/{name}")
        status, _, _ = outcome(call, b"\xff\xff", metadata=by("some"))
        assert status in ("INTERNAL", "PERMISSION_DENIED"), name


def test_the_access_log_has_the_keys_name(serve: Callable[..., Serving], ring: KeyRing, tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    stub = serve(access=AccessControl({}, {}, ring), access_log=log).stub
    outcome(stub.ModelInfer, infer_request("at_once"), metadata=by("some"))
    outcome(stub.ModelInfer, infer_request("soon"), metadata=by("some"))
    outcome(stub.ModelInfer, infer_request("at_once"))
    outcome(lambda: list(stub.ModelStreamInfer(iter([infer_request("at_once")]), metadata=by("all"))))
    outcome(stub.RepositoryIndex, triton.RepositoryIndexRequest(), metadata=by("some"))
    log.close()
    text = (tmp_path / "log").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    assert [(one["status"], one.get("key"), one.get("model")) for one in found[:3]] == [
        ("OK", "some", "at_once"),
        ("PERMISSION_DENIED", "some", "soon"),
        ("UNAUTHENTICATED", None, None),
    ]
    assert [one.get("key") for one in found[3:]] == ["all", "all", "some"]
    assert not any(str(one["key"]) in text for one in KEYS)


# ---- restricted protocols


def test_a_restriction_and_a_key_are_both_asked_for(serve: Callable[..., Serving], ring: KeyRing) -> None:
    stub = serve(access=AccessControl({}, grpc_restrictions(["metadata,inference:Secret=s"]), ring)).stub
    secret = (("triton-grpc-protocol-secret", "s"),)
    found = [
        outcome(stub.ServerMetadata, triton.ServerMetadataRequest(), metadata=metadata)[0]
        for metadata in ((), secret, by("all"), (*secret, *by("all")))
    ]
    assert found == ["UNAVAILABLE", "UNAUTHENTICATED", "UNAVAILABLE", "OK"]
    stream = stub.ModelStreamInfer(iter([infer_request("at_once")]), metadata=(*secret, *by("all")))
    assert [one.error_message for one in stream] == [""]


def test_an_upper_case_name_can_be_sent(serve: Callable[..., Serving]) -> None:
    """Names of metadata are lower-case, so to the real server such a restriction is one that nobody passes."""
    stub = serve(access=AccessControl({}, grpc_restrictions(["metadata:Secret=s"]))).stub
    status, text, _ = outcome(stub.ServerMetadata, triton.ServerMetadataRequest())
    assert (status, "'triton-grpc-protocol-Secret'" in text) == ("UNAVAILABLE", True)
    metadata = (("triton-grpc-protocol-secret", "s"),)
    assert outcome(stub.ServerMetadata, triton.ServerMetadataRequest(), metadata=metadata)[0] == "OK"


def test_what_is_not_restricted_stays_as_it_is(ring: KeyRing) -> None:
    access = AccessControl({}, grpc_restrictions(["trace:k=v"]))
    assert access.grpc is not None

    def handler(*_: Any) -> bytes:
        return b""

    table: dict[str, Any] = dict.fromkeys(API_OF, handler)
    guarded = access.grpc.unary(table, handler)
    assert [path for path in table if guarded[path] is not handler] == ["/inference.GRPCInferenceService/TraceSetting"]
