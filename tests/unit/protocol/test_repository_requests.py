"""The parameters of load and unload requests, in both wire forms."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as triton

from atoll.errors import AtollError, Code
from atoll.protocol.repository import (
    LoadParameters,
    load_from_json,
    load_from_message,
    only_ready,
    unload_from_json,
    unload_from_message,
)

NONE = LoadParameters()


def load(parameters):
    return load_from_json(json.dumps({"parameters": parameters}).encode(), "m")


def test_a_configuration_and_files_over_http():
    content = base64.b64encode(b"\x00\xffonnx").decode()
    found = load({"config": '{"max_batch_size": 1}', "file:1/model.onnx": content, "file:labels.txt": ""})
    assert found == LoadParameters('{"max_batch_size": 1}', {"1/model.onnx": b"\x00\xffonnx", "labels.txt": b""})


@pytest.mark.parametrize("body", [b"", b"[]", b'"s"', b"1", b"null", b'{"x":1}', b"{}", b'{"parameters":{}}'])
def test_bodies_without_parameters(body):
    assert load_from_json(body, "m") == NONE
    assert unload_from_json(body) == (False, "")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"garbage", "failed to parse the request JSON buffer: Invalid value. at 0"),
        (b'{"parameters":', "failed to parse the request JSON buffer"),
        (b"[" * 100_000, "failed to parse the request JSON buffer"),
        (b'{"parameters":1}', "attempt to get members for non-object"),
        (b'{"parameters":[]}', "attempt to get members for non-object"),
        (b'{"parameters":null}', "attempt to get members for non-object"),
        (b'{"parameters":{"config":1}}', "attempt to access JSON non-string as string"),
        (b'{"parameters":{"config":{}}}', "attempt to access JSON non-string as string"),
        (b'{"parameters":{"config":null}}', "attempt to access JSON non-string as string"),
        (b'{"parameters":{"other":1}}', "attempt to access JSON non-string as string"),
        (b'{"parameters":{"file:1/x":[]}}', "attempt to access JSON non-string as string"),
        (b'{"parameters":{"other":"x"}}', "unexpected error on creating Triton parameter"),
        (b'{"parameters":{"file":"x"}}', "unexpected error on creating Triton parameter"),
        (b'{"parameters":{"config":" "}}', "failed to load 'm', failed to poll from model repository"),
    ],
)
def test_what_the_real_server_calls_an_internal_error(body, text):
    with pytest.raises(AtollError) as refused:
        load_from_json(body, "m")
    assert text in str(refused.value)
    assert refused.value.code is Code.INTERNAL


@pytest.mark.parametrize("text", ["!!!", "aGFsbG", "aGFsbG8=x", "aGFs\nbG8=", "aGFsbG8==", "=", "\u00e9", "aGFs bG8="])
def test_contents_that_are_not_base64(text):
    with pytest.raises(AtollError, match="load parameter 'file:1/x' must be the file's content in base64") as refused:
        load({"file:1/x": text})
    assert refused.value.code is Code.INVALID_ARG


@pytest.mark.parametrize("body", [b'{"parameters":{"config":"\xff"}}', b'{"parameters":{"file:\xff":""}}'])
def test_bytes_that_are_no_text(body):
    with pytest.raises(AtollError, match="must be UTF-8"):
        load_from_json(body, "m")


def test_a_large_file():
    data = bytes(range(256)) * 4000 + b"end"
    text = base64.b64encode(data).decode()
    assert load({"config": "{}", "file:1/x": text}).files == {"1/x": data}
    for wrong in (text[:300_000], text[:-1], text[:262_142] + "==" + text[262_144:], text + "AA==", text[:500] + "\n"):
        with pytest.raises(AtollError, match="in base64"):
            load({"config": "{}", "file:1/x": wrong[: -1 if wrong == text[:300_000] else None]})


def test_a_long_name_is_cut_in_the_error():
    with pytest.raises(AtollError) as refused:
        load({"x" * 1_000_000: "y"})
    assert len(str(refused.value)) < 500


@given(st.dictionaries(st.text(min_size=1), st.binary(max_size=50), max_size=5), st.text(min_size=1))
def test_every_file_and_configuration_comes_out_as_it_went_in(files, config):
    parameters = {f"file:{path}": base64.b64encode(content).decode() for path, content in files.items()}
    if not config.strip():
        config = "{}"
    body = json.dumps({"parameters": {**parameters, "config": config}}).encode()
    assert load_from_json(body, "m") == LoadParameters(config, files)


@given(st.binary(max_size=200))
def test_any_body_is_read_or_refused(body):
    for read in (lambda one: load_from_json(one, "m"), unload_from_json, only_ready):
        try:
            read(body)
        except AtollError as refused:
            assert refused.code in (Code.INTERNAL, Code.INVALID_ARG)


def test_dependents_over_http():
    assert unload_from_json(b'{"parameters":{"unload_dependents":true}}') == (True, "")
    assert unload_from_json(b'{"parameters":{"unload_dependents":false}}') == (False, "")
    for body in (b"garbage", b'{"parameters":3}', b'{"parameters":{"unload_dependents":"true"}}'):
        dependents, problem = unload_from_json(body)
        assert not dependents
        assert problem


def test_only_ready():
    assert only_ready(b'{"ready":true}')
    assert not any(map(only_ready, (b"", b"{}", b"[]", b'{"ready":false}')))
    with pytest.raises(AtollError, match="attempt to access JSON non-boolean as boolean"):
        only_ready(b'{"ready":1}')


def message(kind, model_name="m", repository_name="", **parameters):
    request = getattr(triton, f"RepositoryModel{kind}Request")(model_name=model_name, repository_name=repository_name)
    for name, (field, value) in parameters.items():
        if field:
            setattr(request.parameters[name], field, value)
        else:
            request.parameters[name].SetInParent()
    return request


def test_a_configuration_and_files_over_grpc():
    files = {"file:1/model.onnx": ("bytes_param", b"\x00\xff")}
    found = load_from_message(message("Load", config=("string_param", "{}"), **files))
    assert found == LoadParameters("{}", {"1/model.onnx": b"\x00\xff"})
    assert load_from_message(message("Load")) == NONE


@pytest.mark.parametrize(
    ("name", "field", "value", "text"),
    [
        ("config", "int64_param", 1, "invalid value type for load parameter 'config', expected string_param."),
        ("config", "bytes_param", b"{}", "invalid value type for load parameter 'config', expected string_param."),
        ("config", "", None, "invalid value type for load parameter 'config', expected string_param."),
        ("file:1/x", "string_param", "", "invalid value type for load parameter 'file:1/x', expected bytes_param."),
        ("other", "string_param", "x", "unrecognized load parameter 'other'."),
        ("config", "string_param", "", "failed to load 'm', failed to poll from model repository"),
    ],
)
def test_load_parameters_that_are_refused_over_grpc(name, field, value, text):
    with pytest.raises(AtollError) as refused:
        load_from_message(message("Load", **{name: (field, value)}))
    assert text in str(refused.value)


def test_dependents_over_grpc():
    assert unload_from_message(message("Unload", unload_dependents=("bool_param", True)))
    assert not unload_from_message(message("Unload", other=("string_param", "x")))
    for field, value in (("string_param", "true"), ("int64_param", 1), ("", None)):
        with pytest.raises(AtollError) as refused:
            unload_from_message(message("Unload", unload_dependents=(field, value)))
        assert str(refused.value) == "invalid value type for 'unload_dependents' parameter, expected bool_param."


@pytest.mark.parametrize("kind", ["Load", "Unload"])
def test_the_name_of_a_repository_is_not_supported(kind):
    read = load_from_message if kind == "Load" else unload_from_message
    with pytest.raises(AtollError) as refused:
        read(message(kind, repository_name="x"))
    assert (refused.value.code, str(refused.value)) == (
        Code.UNSUPPORTED,
        "'repository_name' specification is not supported",
    )
