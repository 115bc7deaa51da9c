"""The OpenAPI document: every route of the table, with what is said of it in operations.py."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from atoll.config.metadata import ModelMetadata, ServerMetadata
from atoll.frontends.http.routes import Route
from atoll.frontends.openapi.examples import generate_example, infer_example
from atoll.frontends.openapi.operations import BINARY, HTML, JSON, Operation, operation_of
from atoll.frontends.openapi.schemas import SCHEMAS, Schema, ref

Document = dict[str, Any]

_PLACE: Final = re.compile(r"\{(\w+)\}")
_MEANINGS: Final = {
    "model": "The model's name",
    "version": "A version of the model: a number",
    "repository": "A repository's name, which must not be given",
    "region": "The name under which the memory is registered",
}
_TITLES: Final = {
    "health": "Health",
    "metadata": "Metadata",
    "inference": "Inference",
    "shared-memory": "Shared memory",
    "model-config": "Model configuration",
    "model-repository": "Model repository",
    "statistics": "Statistics",
    "trace": "Trace",
    "logging": "Logging",
    "documentation": "Documentation",
    "dashboard": "Dashboard",
}
_JSON_LENGTH: Final = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Bytes of JSON in front of binary tensors; needed where there are such.",
    "schema": {"type": "integer", "minimum": 0},
}
_REFUSED: Final = {"description": "Refused; `error` says why.", "content": {JSON: {"schema": ref("Error")}}}


def openapi(routes: Iterable[Route], server: ServerMetadata, models: Sequence[ModelMetadata] = ()) -> Document:
    """`models`: those whose examples are shown."""
    paths: Document = {}
    tags: dict[str, None] = {}
    for route in routes:
        tags[_TITLES[route.api.value]] = None
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, models)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{server.name}: inference over HTTP",
            "version": server.version,
            "description": "The KServe v2 inference protocol with Triton's extensions: "
            f"{', '.join(server.extensions)}. gRPC and metrics have ports of their own.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in tags],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, where the server asks for one.",
                },
                "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
        "security": [{}, {"bearer": []}, {"header": []}],
    }


def _operation(route: Route, models: Sequence[ModelMetadata]) -> Document:
    about = operation_of(route.method, route.path) or Operation(f"{route.method} {route.path}")
    parameters = [_place(name, models) for name in _PLACE.findall(route.path)]
    operation: Document = {
        "operationId": "_".join([route.method.lower(), *re.findall(r"\w+", route.path)]),
        "summary": about.summary,
        "tags": [_TITLES[route.api.value]],
        "parameters": [*parameters, _JSON_LENGTH] if about.binary else parameters,
        "responses": {"200": _answer(about), "default": _REFUSED},
    }
    if about.takes:
        content: Document = {JSON: {"schema": ref(about.takes), **_examples(about, models)}}
        if about.binary:
            content[BINARY] = {"schema": _binary("The JSON, and the binary tensors behind it.")}
        operation["requestBody"] = {"required": not about.optional, "content": content}
    return operation


def _place(name: str, models: Sequence[ModelMetadata]) -> Document:
    schema: Schema = {"type": "string"}
    if name == "version":
        schema["pattern"] = "^[0-9]+$"
    if name == "model" and models:
        schema["examples"] = [model.name for model in models]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": _MEANINGS.get(name, name),
        "schema": schema,
    }


def _answer(about: Operation) -> Document:
    if about.form == HTML:
        return {"description": "The page.", "content": {HTML: {"schema": {"type": "string"}}}}
    if not about.gives:
        return {"description": "Done, or yes; without a body."}
    content: Document = {about.form: {"schema": ref(about.gives)}}
    if about.binary:
        content[BINARY] = {"schema": _binary("The JSON, and the binary outputs behind it.")}
    return {"description": about.summary, "content": content}


def _binary(description: str) -> Schema:
    return {"type": "string", "format": "binary", "description": description}


def _examples(about: Operation, models: Sequence[ModelMetadata]) -> Mapping[str, Any]:
    make = {"InferRequest": infer_example, "GenerateRequest": generate_example}.get(about.takes)
    if make is None:
        return {}
    made = {model.name: make(model) for model in models}
    examples = {
        name: {"summary": f"For the model {name}", "value": value} for name, value in made.items() if value is not None
    }
    return {"examples": examples} if examples else {}
