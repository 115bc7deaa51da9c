"""The JSON documents of the protocol as JSON Schemas, under the names by which the OpenAPI document refers to them."""

from collections.abc import Mapping
from typing import Any, Final

from atoll.tensor import BY_PROTOCOL_NAME

Schema = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}


def ref(name: str) -> Schema:
    """What stands for a schema of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: str, /, **members: Schema) -> Schema:
    """An object. `required`: the names of the members that must be there."""
    schema: Schema = {"type": "object", "properties": members}
    if required:
        schema["required"] = required.split()
    return schema


def many(items: Schema, description: str = "") -> Schema:
    """An array."""
    return {"type": "array", "items": items, **({"description": description} if description else {})}


def described(schema: Schema, text: str) -> Schema:
    """The same with a description."""
    return {**schema, "description": text}


SHAPE = many({"type": "integer"}, "One number a dimension; -1 in metadata: of any size.")
DATA = many({}, "The elements in row-major order, flat or nested: numbers, true and false for BOOL, strings for BYTES.")
PARAMETERS: Schema = {
    "type": "object",
    "description": "Settings of this request or tensor: numbers, booleans and strings.",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_BINARY_SIZE = described(COUNT, "The tensor's bytes follow the JSON, this many; then there is no `data`.")
_REGION: Mapping[str, Schema] = {
    "shared_memory_region": described(STRING, "The registered region in which the tensor is, or is to be."),
    "shared_memory_offset": COUNT,
    "shared_memory_byte_size": COUNT,
}
_DURATION = ref("Duration")
_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
_TENSOR: Mapping[str, Schema] = {"name": STRING, "datatype": ref("DataType"), "shape": SHAPE}

SCHEMAS: Mapping[str, Schema] = {
    "Error": described(record("error", error=STRING), "Why the request was refused."),
    "DataType": {"type": "string", "enum": list(BY_PROTOCOL_NAME)},
    "TensorMetadata": record("name datatype shape", **_TENSOR),
    "ServerMetadata": record("name version extensions", name=STRING, version=STRING, extensions=many(STRING)),
    "ModelMetadata": record(
        "name versions platform inputs outputs",
        name=STRING,
        versions=many(STRING),
        platform=STRING,
        inputs=many(ref("TensorMetadata")),
        outputs=many(ref("TensorMetadata")),
    ),
    "ModelConfig": {
        "type": "object",
        "description": "The model's complete configuration: the fields of config.pbtxt, by their names there.",
        "required": ["name"],
        "properties": {"name": STRING, "backend": STRING, "platform": STRING, "max_batch_size": COUNT},
        "additionalProperties": True,
    },
    "InferInput": described(
        record("name datatype shape", **_TENSOR, data=DATA),
        "Its data is in `data`, behind the JSON, or in a region of shared memory: in exactly one of these.",
    ),
    "InferOutput": described(record("name", name=STRING), "An output that is wanted."),
    "InferRequest": record(
        "inputs",
        id=described(STRING, "Comes back with the answer."),
        parameters=PARAMETERS,
        inputs=many(ref("InferInput")),
        outputs=many(ref("InferOutput"), "The outputs that are wanted; all where it is left out."),
    ),
    "InferResponse": record(
        "model_name model_version outputs",
        id=STRING,
        model_name=STRING,
        model_version=STRING,
        parameters=PARAMETERS,
        outputs=many(record("name datatype shape", **_TENSOR, data=DATA, parameters=PARAMETERS)),
    ),
    "GenerateRequest": {
        "type": "object",
        "description": "The model's inputs by name, each one value or an array of one dimension; other members are "
        "parameters, and so are those of `parameters`.",
        "properties": {"id": STRING, "parameters": {"type": "object"}},
        "additionalProperties": True,
    },
    "GenerateResponse": {
        "type": "object",
        "description": "The model's outputs by name.",
        "properties": {"id": STRING, "model_name": STRING, "model_version": STRING},
        "additionalProperties": True,
    },
    "Duration": record("count ns", count=COUNT, ns=described(COUNT, "Nanoseconds of all together.")),
    "BatchStatistics": record(
        "batch_size compute_input compute_infer compute_output",
        batch_size=COUNT,
        compute_input=_DURATION,
        compute_infer=_DURATION,
        compute_output=_DURATION,
    ),
    "ModelStatistics": record(
        "name version last_inference inference_count execution_count inference_stats batch_stats",
        name=STRING,
        version=STRING,
        last_inference=described(COUNT, "When, in milliseconds since 1970; 0 for never."),
        inference_count=COUNT,
        execution_count=COUNT,
        inference_stats=record(" ".join(_DURATIONS), **dict.fromkeys(_DURATIONS, _DURATION)),
        response_stats={
            "type": "object",
            "description": "Of decoupled models: by the number of the response in its request's.",
            "additionalProperties": {"type": "object", "additionalProperties": _DURATION},
        },
        batch_stats=many(ref("BatchStatistics")),
        memory_usage=many(record("type id byte_size", type=STRING, id=COUNT, byte_size=COUNT)),
    ),
    "Statistics": record("model_stats", model_stats=many(ref("ModelStatistics"))),
    "IndexRequest": record("", ready=described(BOOLEAN, "Only what is ready.")),
    "Index": many(record("name", name=STRING, version=STRING, state=STRING, reason=STRING)),
    "LoadRequest": record(
        "",
        parameters={
            "type": "object",
            "properties": {
                "config": described(STRING, "A configuration in JSON, as text, in place of the repository's.")
            },
            "patternProperties": {
                "^file:": {
                    "type": "string",
                    "contentEncoding": "base64",
                    "description": "A file of the model, by path.",
                }
            },
        },
    ),
    "UnloadRequest": record(
        "", parameters=record("", unload_dependents=described(BOOLEAN, "With an ensemble, its steps' models too."))
    ),
    "SystemRegistration": record(
        "key byte_size",
        key=described(STRING, "The name under which shm_open finds the memory."),
        offset=COUNT,
        byte_size=COUNT,
    ),
    "SystemRegions": many(record("name key offset byte_size", name=STRING, key=STRING, offset=COUNT, byte_size=COUNT)),
    "CudaRegistration": record(
        "raw_handle device_id byte_size",
        raw_handle=record("b64", b64={"type": "string", "contentEncoding": "base64"}),
        device_id=COUNT,
        byte_size=COUNT,
    ),
    "CudaRegions": many(record("name device_id byte_size", name=STRING, device_id=COUNT, byte_size=COUNT)),
    "TraceSettings": {
        "type": "object",
        "description": "A member that is null, in a request, takes the value that is set for all models.",
        "properties": {
            "trace_file": {"type": ["string", "null"]},
            "trace_level": {"type": ["array", "null"], "items": STRING},
            "trace_rate": {"type": ["string", "null"]},
            "trace_count": {"type": ["string", "null"]},
            "log_frequency": {"type": ["string", "null"]},
        },
        "additionalProperties": True,
    },
    "LogSettings": record(
        "",
        log_file=STRING,
        log_info=BOOLEAN,
        log_warning=BOOLEAN,
        log_error=BOOLEAN,
        log_verbose_level=COUNT,
        log_format={"type": "string"},
    ),
    "Dashboard": {
        "type": "object",
        "description": "Made for that page: what is in it may be another with each version of the server.",
        "required": ["server", "control", "totals", "models", "left_out", "machine", "errors"],
    },
    "OpenApi": {"type": "object", "required": ["openapi", "info", "paths"]},
}

SCHEMAS["InferInput"]["properties"]["parameters"] = {
    "type": "object",
    "properties": {"binary_data_size": _BINARY_SIZE, **_REGION},
}
SCHEMAS["InferOutput"]["properties"]["parameters"] = {
    "type": "object",
    "properties": {
        "binary_data": described(BOOLEAN, "Its bytes are to follow the JSON."),
        "classification": described(COUNT, "How many classes are wanted in place of the data."),
        **_REGION,
    },
}
