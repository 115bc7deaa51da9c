"""The JSON form of a configuration, as the config endpoint prints it and as load overrides give it."""

import math
from enum import Enum
from typing import Any

from atoll.config.fields import (
    INTEGER_RANGES,
    Field,
    conflict,
    enum_by_name,
    enum_by_number,
    enum_name,
    enum_names,
    fields_of,
)
from atoll.config.model_config import ModelConfig, ModelInstanceGroup, ModelOptimizationPolicy, ModelSequenceBatching
from atoll.config.problems import Problem, config_error, suggestion

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
    """The configuration in a JSON document: proto names or their camelCase, enumerations by name or number, 64-bit
    integers as numbers or strings, null for absent. Raises one ConfigError that lists everything that does not fit."""
    problems: list[Problem] = []
    config = _record(document, ModelConfig, "", problems)
    if problems:
        raise config_error(problems, "Invalid config override")
    assert isinstance(config, ModelConfig)
    return config


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(one.capitalize() for one in rest)


def _record(document: Any, record: type[Any], path: str, problems: list[Problem]) -> Any:
    if not isinstance(document, dict):
        message = "an object is expected here" if path else "Root element must be a message."
        problems.append(Problem(path, message, _shown(document), "a JSON object", ""))
        return None
    already = len(problems)
    fields = fields_of(record)
    names = {one.name: one for one in fields} | {_camel(one.name): one for one in fields}
    values: dict[str, Any] = {}
    for name, value in document.items():
        here = f"{path}.{name}" if path else str(name)
        field = names.get(name)
        if field is None:
            problems.append(_unknown(here, str(name), record, [one.name for one in fields]))
        elif field.attribute in values:
            problems.append(Problem(here, "the field is given twice", f"'{name}' again", "one spelling of it", ""))
        elif value is not None:
            values[field.attribute] = _value(value, field, here, problems)
    both = conflict(record, (name for name, value in values.items() if value is not None))
    if both is not None:
        first, second = both
        message = (
            f'Field "{second.name}" is specified along with field "{first.name}", another member of "{first.oneof}"'
        )
        problems.append(Problem(path, message, "both", "at most one of them", "Remove one."))
    return None if len(problems) > already else record(**values)


def _unknown(path: str, name: str, record: type[Any], known: list[str]) -> Problem:
    right = suggestion(name, known)
    remedy = f"Did you mean '{right}'?" if right else "Remove it."
    expected = f"a field of {record.__qualname__}" + ("" if right else f" ({', '.join(known)})")
    return Problem(path, f"{name}: Cannot find field.", f"'{name}'", expected, remedy)


def _value(value: Any, field: Field, path: str, problems: list[Problem]) -> Any:
    if field.key is not None:
        if not isinstance(value, dict):
            problems.append(Problem(path, "a map is expected here", _shown(value), "a JSON object", ""))
            return {}
        return {
            _scalar(key, field.key, path, problems): _single(one, field, f"{path}[{key!r}]", problems)
            for key, one in value.items()
        }
    if field.repeated:
        if not isinstance(value, list | tuple):
            problems.append(Problem(path, "a list is expected here", _shown(value), "a JSON array", ""))
            return ()
        return tuple(_single(one, field, f"{path}[{index}]", problems) for index, one in enumerate(value))
    return _single(value, field, path, problems)


def _single(value: Any, field: Field, path: str, problems: list[Problem]) -> Any:
    if field.record:
        return _record(value, field.record, path, problems)
    if field.enum:
        return _enum(value, field.enum, path, problems)
    return _scalar(value, field.scalar, path, problems)


def _enum(value: Any, enum: type[Enum], path: str, problems: list[Problem]) -> Enum | None:
    member: Enum | None = None
    if isinstance(value, str):
        member = enum_by_name(enum, value)
    elif isinstance(value, int) and not isinstance(value, bool):
        member = enum_by_number(enum, value)
    if member is None:
        right = suggestion(value, enum_names(enum)) if isinstance(value, str) else None
        remedy = f"Did you mean '{right}'?" if right else ""
        expected = f"one of {', '.join(enum_names(enum))}"
        message = f"invalid value {_shown(value)} for type type.googleapis.com/inference.{enum.__qualname__}"
        problems.append(Problem(path, message, _shown(value), expected, remedy))
    return member


_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _scalar(value: Any, scalar: str, path: str, problems: list[Problem]) -> Any:
    """A scalar in its Python type; strings hold numbers too, as in protobuf's JSON."""
    result = _converted(value, scalar)
    if result is None:
        message = f"invalid value {_shown(value)} for type TYPE_{scalar.upper()}"
        problems.append(Problem(path, message, _shown(value), _EXPECTED[scalar], ""))
    return result


_EXPECTED = {
    "string": "a string",
    "bool": "true or false",
    "float": "a number",
    "double": "a number",
    **{name: f"an integer from {low} to {high}" for name, (low, high) in INTEGER_RANGES.items()},
}


def _converted(value: Any, scalar: str) -> Any:
    if scalar == "string":
        return value if isinstance(value, str) else None
    if scalar == "bool":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and (len(value) > 400 or value != value.strip() or "_" in value):
        return None
    if scalar in INTEGER_RANGES:
        return _integer(value, *INTEGER_RANGES[scalar])
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if isinstance(value, str) and not math.isfinite(number) else number


def _integer(value: int | float | str, low: int, high: int) -> int | None:
    if isinstance(value, float):
        if not value.is_integer():
            return None
        value = int(value)
    elif isinstance(value, str):
        digits = value[1:] if value.startswith("-") else value
        if not (digits.isascii() and digits.isdigit()):
            return None
        value = int(value)
    return value if low <= value <= high else None


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
