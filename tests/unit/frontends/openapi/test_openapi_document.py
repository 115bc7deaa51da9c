"""The document at /openapi.json: it is one, says of every route what it is for, and its examples are answered."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from tests.conformance.wire import Exchange

import atoll
from atoll.config.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from atoll.frontends.apis import Api
from atoll.frontends.context import FrontendContext
from atoll.frontends.dashboard.sampler import Sampler
from atoll.frontends.http.routes import Route
from atoll.frontends.http.service import HttpService
from atoll.frontends.openapi.document import openapi
from atoll.frontends.openapi.examples import LARGEST, generate_example, infer_example
from atoll.frontends.openapi.operations import OPERATIONS, operation_of
from atoll.protocol.http_codec import decode_infer
from atoll.tensor import BY_PROTOCOL_NAME, DataType

SERVER = ServerMetadata("atoll", "1.0", ("classification",))


def same(**inputs: Any) -> dict[str, Any]:
    return {f"{name}_OUT": value for name, value in inputs.items()}


@pytest.fixture(scope="module")
def server() -> Iterator[atoll.Server]:
    server = atoll.Server(model_control_mode="explicit")
    numbers = {"A": ("FP32", [4]), "B": ("INT64", [2, -1]), "C": ("BOOL", [3])}
    server.add_model("numbers", same, inputs=numbers, outputs={f"{name}_OUT": one for name, one in numbers.items()})
    server.add_model("texts", same, inputs={"T": ("BYTES", [-1])}, outputs={"T_OUT": ("BYTES", [-1])}, batching=4)
    server.add_model("halves", same, inputs={"H": ("FP16", [1])}, outputs={"H_OUT": ("FP16", [1])})
    server.add_model("large", same, inputs={"L": ("FP32", [3, 224, 224])}, outputs={"L_OUT": ("FP32", [3, 224, 224])})
    with server:
        yield server


def routes_of(server: atoll.Server) -> list[Route]:
    async def made() -> list[Route]:
        context = FrontendContext(server, docs=True, dashboard=Sampler(server))
        service = HttpService(server, asyncio.get_running_loop(), 1000, context)
        try:
            return list(service.routes.routes)
        finally:
            service.close()

    return asyncio.run(made())


def fetched(port: int, path: str = "/openapi.json", **headers: str) -> Exchange:
    return Exchange.ask("127.0.0.1", port, "GET", path, headers=headers)


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": document["components"]}


def test_every_route_is_described_and_nothing_else(server: atoll.Server) -> None:
    routes = routes_of(server)
    undescribed = [(one.method, one.path) for one in routes if operation_of(one.method, one.path) is None]
    assert not undescribed, "say in operations.py what they are for"
    there = {(one.method, re.sub(r"/versions/\{version\}|/\{repository\}", "", one.path)) for one in routes}
    assert set(OPERATIONS) == there, "operations.py describes what is not served"


def test_the_document_has_exactly_the_routes(server: atoll.Server) -> None:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener:
        document = fetched(listener.http_port).json()
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == {(one.method, one.path) for one in routes_of(server)}


def test_the_document_is_valid(server: atoll.Server) -> None:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener:
        document = fetched(listener.http_port).json()
    OpenAPIV31SpecValidator(document).validate()
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    ids = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
    assert len(set(ids)) == len(ids)
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert used == set(document["components"]["schemas"]), "a schema that nothing refers to, or one that is missing"


def test_a_route_that_nobody_described_is_in_it_all_the_same() -> None:
    route = Route("GET", "/v2/new/{model}", lambda exchange, body: None, Api.METADATA)
    document = openapi([route], SERVER)
    assert document["paths"]["/v2/new/{model}"]["get"]["summary"] == "GET /v2/new/{model}"
    OpenAPIV31SpecValidator(document).validate()


def test_its_examples_are_answered(server: atoll.Server) -> None:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener:
        document = fetched(listener.http_port).json()
        tried = set()
        for path in ("/v2/models/{model}/infer", "/v2/models/{model}/generate"):
            content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
            schema = Draft202012Validator(resolve(document, content["schema"]))
            for model, example in content["examples"].items():
                schema.validate(example["value"])
                body = json.dumps(example["value"]).encode()
                target = path.replace("{model}", model)
                answer = Exchange.ask("127.0.0.1", listener.http_port, "POST", target, body=body)
                assert answer.status == 200, (path, model, answer.body)
                tried.add((path.rpartition("/")[2], model))
    assert tried == {(action, model) for action in ("infer", "generate") for model in ("numbers", "texts")}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v2", "GET"),
        ("/v2/models/texts", "GET"),
        ("/v2/models/texts/config", "GET"),
        ("/v2/models/texts/stats", "GET"),
        ("/v2/models/stats", "GET"),
        ("/v2/repository/index", "POST"),
        ("/v2/trace/setting", "GET"),
        ("/openapi.json", "GET"),
    ],
)
def test_documents_are_as_their_schemas_say(server: atoll.Server, path: str, method: str) -> None:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener:
        document = fetched(listener.http_port).json()
        answer = Exchange.ask("127.0.0.1", listener.http_port, method, path)
    described = document["paths"][path.replace("texts", "{model}")][method.lower()]
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer.status == 200
    Draft202012Validator(resolve(document, schema)).validate(answer.json())


def test_infer_answers_and_refusals_are_as_their_schemas_say(server: atoll.Server) -> None:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener:
        document = fetched(listener.http_port).json()
        responses = document["paths"]["/v2/models/{model}/infer"]["post"]["responses"]
        good = server.infer("texts", {"T": np.array([["a"]], np.object_)})
        assert good.outputs
        body = b'{"id":"x","inputs":[{"name":"T","datatype":"BYTES","shape":[1,1],"data":["a"]}]}'
        for sent, status, name in ((body, 200, "200"), (b"{}", 500, "default")):
            answer = Exchange.ask("127.0.0.1", listener.http_port, "POST", "/v2/models/texts/infer", body=sent)
            assert answer.status == status
            schema = responses[name]["content"]["application/json"]["schema"]
            Draft202012Validator(resolve(document, schema)).validate(answer.json())


def test_docs_can_be_turned_off(server: atoll.Server) -> None:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0, allow_docs=False) as listener:
        for path in ("/openapi.json", "/docs"):
            assert fetched(listener.http_port, path).status == 404


def test_who_may_not_see_the_models_sees_no_names(server: atoll.Server) -> None:
    with atoll.listen(
        server, http_port=0, grpc_port=0, metrics_port=0, http_restricted_api=["metadata:secret=1"]
    ) as listener:
        answer = fetched(listener.http_port)
    assert answer.status == 200
    assert b"halves" not in answer.body
    assert "/v2/models/{model}" in answer.json()["paths"]


def test_the_page_may_run_nothing_but_itself(server: atoll.Server) -> None:
    with atoll.listen(server, http_port=0, grpc_port=0, metrics_port=0) as listener:
        answer = fetched(listener.http_port, "/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.findall(rb"https?://", answer.body), "it asks no other host"


TENSORS = st.builds(
    TensorMetadata,
    name=st.text(min_size=1, max_size=8),
    datatype=st.sampled_from(list(BY_PROTOCOL_NAME.values())),
    shape=st.lists(st.integers(-1, 40), max_size=4).map(tuple),
)


@given(inputs=st.lists(TENSORS, max_size=4, unique_by=lambda one: one.name))
def test_an_example_is_a_request(inputs: list[TensorMetadata]) -> None:
    model = ModelMetadata("m", ("1",), "p", tuple(inputs), ())
    flat = generate_example(model)
    assert flat is None or list(flat) == [one.name for one in inputs]
    example = infer_example(model)
    if example is None:
        wanted = [one.datatype for one in inputs]
        sizes = [np.prod([abs(dim) for dim in one.shape], dtype=int) for one in inputs]
        assert sum(sizes) > LARGEST or DataType.FP16 in wanted or DataType.BF16 in wanted
        return
    body = json.dumps(example).encode()
    decoded = decode_infer(memoryview(body), len(body), "m")
    for one in inputs:
        tensor = decoded.inputs[one.name]
        assert tensor.datatype is one.datatype
        assert tensor.shape == tuple(1 if dim < 0 else dim for dim in one.shape)
