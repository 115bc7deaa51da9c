"""The JSON form of a configuration, as the config endpoint prints it and as load overrides give it."""

import math
from enum import Enum
from typing import Any

from atoll.config.document_reader import read_document
from atoll.config.documents import Document
from atoll.config.fields import Field, enum_name, fields_of
from atoll.config.model_config import ModelConfig, ModelInstanceGroup, ModelOptimizationPolicy, ModelSequenceBatching
from atoll.config.problems import config_error

MAX_TEXT = 4 << 20  # characters; real configurations have a few thousand

# Protobuf's JSON writes 64-bit integers as strings. The real server (2.51) turns them into numbers, one field after the
# other, and has forgotten those of these messages.
_TEXT_INT64 = (
    ModelSequenceBatching.InitialState,
    ModelOptimizationPolicy.Cuda.GraphSpec.Shape,
    ModelInstanceGroup.SecondaryDevice,
)


def to_json(config: ModelConfig) -> dict[str, Any]:
    """The document that GET /v2/models/M/config answers: the schema's names and order, defaults included, absent
    messages left out. NaN and the infinities become strings, as in protobuf's JSON."""
    return _document(config)


def _document(record: Any) -> dict[str, Any]:
    document: dict[str, Any] = {}
    as_text = isinstance(record, _TEXT_INT64)
    # protobuf puts the scalar members of a oneof behind everything else
    for field in sorted(fields_of(type(record)), key=lambda one: one.oneof is not None and one.record is None):
        value = getattr(record, field.attribute)
        if value is None:
            continue
        if field.key is not None:
            document[field.name] = {_key(key): _plain(one, field, as_text) for key, one in value.items()}
        elif field.repeated:
            document[field.name] = [_plain(one, field, as_text) for one in value]
        else:
            document[field.name] = _plain(value, field, as_text)
    return document


def _key(key: str | int) -> str:
    return str(key)


def _plain(value: Any, field: Field, as_text: bool) -> Any:
    if field.record:
        return _document(value)
    if isinstance(value, Enum):
        return enum_name(value)
    if field.scalar in ("float", "double"):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return str(value) if as_text and field.scalar == "int64" else value


def from_json(document: Any) -> ModelConfig:
    """The configuration in a JSON document. Raises one ConfigError that lists everything that does not fit."""
    reading = read_document(Document(document, {}), ModelConfig)
    if reading.problems:
        raise config_error(reading.problems, "Invalid config override")
    assert isinstance(reading.record, ModelConfig)
    return reading.record
