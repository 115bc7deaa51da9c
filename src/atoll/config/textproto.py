"""config.pbtxt: its text, and the schema's messages, to and from the records. Only here do records meet protobuf."""

import re
from typing import Any

import numpy as np
from google.protobuf import text_format as untyped_text_format

from atoll.config.fields import Field, conflict, enum_by_number, enum_names, enum_number, fields_of
from atoll.config.json_form import from_json, to_json
from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem, config_error, suggestion
from atoll.config.schema import POOL, message_class
from atoll.errors import ConfigError

__all__ = ["from_json", "from_message", "read_config_text", "to_json", "to_message", "write_config_text"]

text_format: Any = untyped_text_format
ModelConfigMessage = message_class("inference.ModelConfig")

MAX_TEXT = 4 << 20  # characters; protobuf's parser takes seconds for each megabyte, and real files are a few kilobytes
_MAX_REPORTED = 20


def read_config_text(text: str | bytes, filename: str) -> ModelConfig:
    """Reads a config.pbtxt.

    Raises ConfigError with `filename`:line:column, what was found there, what is expected, and the near spelling of a
    misspelt name. Reading goes on behind a misspelt name as if it had been written right, so one error lists them all.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise _error(filename, [f"{filename}:{line}: the file is not UTF-8 text ({error.reason})"]) from None
    if len(text) > MAX_TEXT:
        raise _error(filename, [f"{filename}: the file has {len(text)} characters; at most {MAX_TEXT} are read"])
    message, found = _parse(text, filename)
    if found:
        raise _error(filename, found)
    try:
        return from_message(message)
    except ConfigError as error:
        raise _error(filename, [f"{filename}: {error}"]) from None


def _error(filename: str, found: list[str]) -> ConfigError:
    return ConfigError(f"failed to read text proto from {filename}\n" + "\n".join(f"  {one}" for one in found))


def _parse(text: str, filename: str) -> tuple[Any, list[str]]:
    """The message, and what is wrong with the text; with anything wrong the message is not to be used."""
    found: list[str] = []
    shifts: dict[int, list[tuple[int, int]]] = {}  # line -> (column, how much longer the text became there)
    while True:
        message = ModelConfigMessage()
        try:
            text_format.Parse(text, message, descriptor_pool=POOL)
        except text_format.ParseError as error:
            line, column = error.GetLine() or 1, error.GetColumn() or 1
            row = text.split("\n")[line - 1]
            explanation, wrong, right = _explain(str(error).replace(f"'{row}': ", "", 1))
            original = column - sum(length for start, length in shifts.get(line, ()) if start < column)
            found.append(f"{filename}:{line}:{original}: {explanation}")
            repaired = _replaced(text, line, column, wrong, right) if right else None
            if repaired is None or right is None or len(found) == _MAX_REPORTED:
                return message, found
            shifts.setdefault(line, []).append((column, len(right) - len(wrong)))
            text = repaired
        except RecursionError:
            return message, [*found, f"{filename}: messages are nested too deep"]
        else:
            return message, found


def _replaced(text: str, line: int, column: int, wrong: str, right: str) -> str | None:
    lines = text.split("\n")
    row = lines[line - 1]
    if not row.startswith(wrong, column - 1):
        return None
    lines[line - 1] = row[: column - 1] + right + row[column - 1 + len(wrong) :]
    return "\n".join(lines)


_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]+)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named (\S+?)\.?$')


def _explain(error: str) -> tuple[str, str, str | None]:
    """protobuf's error in full, the name that was misspelt if one was, and what it likely stands for."""
    error = re.sub(r"^\d+:\d+ : ", "", error)
    if match := _UNKNOWN_FIELD.search(error):
        owner, wrong = match.groups()
        known = [one.name for one in POOL.FindMessageTypeByName(owner).fields]
        noun, where = "field", f"a field of {owner.removeprefix('inference.')}"
    elif match := _UNKNOWN_VALUE.search(error):
        owner, wrong = match.groups()
        known = [one.name for one in POOL.FindEnumTypeByName(owner).values]
        noun, where = "value", f"a value of {owner.removeprefix('inference.')}"
        error = f'Unknown enumeration value of "{wrong}". {error}'
    else:
        return error, "", None
    right = suggestion(wrong, known)
    hint = f"did you mean '{right}'?" if right else f"expected {where}: {', '.join(known)}"
    return f"unknown {noun} '{wrong}': {hint} ({error})", wrong, right


def write_config_text(config: ModelConfig) -> str:
    """The text of a config.pbtxt that reads back as this configuration; what has its default value is left out."""
    text: str = text_format.MessageToString(
        to_message(config), as_utf8=True, use_short_repeated_primitives=True, use_index_order=True
    )
    return text


def to_message(config: ModelConfig) -> Any:
    """The configuration as an inference.ModelConfig of config/schema's pool.

    Raises ConfigError for a value that the schema's type cannot hold.
    """
    message = ModelConfigMessage()
    _write(config, message, "")
    return message


def _write(record: Any, message: Any, path: str) -> None:
    both = conflict(
        type(record), (f.attribute for f in fields_of(type(record)) if getattr(record, f.attribute) is not None)
    )
    if both is not None:
        raise ConfigError(
            f"{path or 'the model configuration'}: at most one of {both[0].name} and {both[1].name} can be set"
        )
    for field in fields_of(type(record)):
        value = getattr(record, field.attribute)
        here = f"{path}.{field.name}" if path else field.name
        if value is None:
            continue
        try:
            target = getattr(message, field.name)
            if field.key is not None:
                for key, one in value.items():
                    if field.record:
                        _write(one, target[key], f"{here}[{key!r}]")
                    else:
                        target[key] = one
            elif field.repeated and field.record:
                for index, one in enumerate(value):
                    _write(one, target.add(), f"{here}[{index}]")
            elif field.repeated:
                target.extend([enum_number(one) for one in value] if field.enum else value)
            elif field.record:
                target.SetInParent()
                _write(value, target, here)
            else:
                setattr(message, field.name, enum_number(value) if field.enum else value)
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(f"{here}: {value!r} does not fit the schema: {error}") from None


def from_message(message: Any) -> ModelConfig:
    """The records of an inference.ModelConfig message. Raises ConfigError for a number that an enumeration lacks."""
    config: ModelConfig = _read(message, ModelConfig, "")
    return config


def _read(message: Any, record: type[Any], path: str) -> Any:
    values: dict[str, Any] = {}
    for field in fields_of(record):
        here = f"{path}.{field.name}" if path else field.name
        if field.optional and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.key is not None:
            values[field.attribute] = {
                key: _read(value[key], field.record, f"{here}[{key!r}]") if field.record else value[key]
                for key in value
            }
        elif field.repeated:
            values[field.attribute] = tuple(_element(one, field, f"{here}[{i}]") for i, one in enumerate(value))
        else:
            values[field.attribute] = _element(value, field, here)
    return record(**values)


def _element(value: Any, field: Field, path: str) -> Any:
    if field.record:
        return _read(value, field.record, path)
    if field.enum:
        member = enum_by_number(field.enum, value)
        if member is None:
            expected = ", ".join(enum_names(field.enum))
            problem = Problem(
                path, "unknown enumeration value", str(value), f"one of {expected}", "Use one of the names."
            )
            raise config_error([problem], "the model configuration")
        return member
    if field.scalar == "float":
        return float(str(np.float32(value)))  # the shortest decimal that is this float: 0.3, not 0.30000001192092896
    return value
