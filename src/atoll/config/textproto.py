"""config.pbtxt: its text, and the schema's messages, to and from the records. Only here do records meet protobuf."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import text_format as untyped_text_format

from atoll.config.fields import Field, conflict, enum_by_number, enum_names, enum_number, fields_of
from atoll.config.json_form import MAX_TEXT, from_json, to_json
from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem, config_error
from atoll.config.schema import message_class
from atoll.config.text_reader import read_text
from atoll.errors import ConfigError

__all__ = ["from_json", "from_message", "read_config_text", "to_json", "to_message", "write_config_text"]

text_format: Any = untyped_text_format
ModelConfigMessage = message_class("inference.ModelConfig")


def read_config_text(text: str | bytes, filename: str, environment: Mapping[str, str] | None = None) -> ModelConfig:
    """Reads a config.pbtxt; with an environment, its variables replace ${NAME} in strings.

    Raises ConfigError with every problem: where it stands, what was found, what is expected, and the near spelling of a
    misspelt name.
    """
    try:
        decoded = decode(text, filename)
    except ConfigError as error:
        raise text_error(error.problems, filename) from None
    reading = read_text(decoded, ModelConfig, filename, environment)
    if reading.problems:
        raise text_error(reading.problems, filename)
    assert isinstance(reading.record, ModelConfig)
    return reading.record


def decode(text: str | bytes, filename: str) -> str:
    """The text of a configuration file. Raises ConfigError for what is not UTF-8, and for too much of it."""
    if len(text) > MAX_TEXT:
        problem = Problem(
            "", "the file is too big", f"{len(text)} characters", f"at most {MAX_TEXT}", "", file=filename
        )
        raise config_error([problem], filename)
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            column = error.start - error.object.rfind(b"\n", 0, error.start)
            byte = f"byte 0x{error.object[error.start]:02x} ({error.reason})"
            message = "the file is not UTF-8 text"
            remedy = "Save it as UTF-8."
            problem = Problem("", message, byte, "UTF-8", remedy, file=filename, line=line, column=column)
            raise config_error([problem], filename) from None
    return text.removeprefix("\ufeff")  # which some editors put before UTF-8


def text_error(problems: Sequence[Problem], filename: str) -> ConfigError:
    """What is wrong with a file, headed by the real server's words for a file that it cannot read."""
    lines = "\n".join(f"  {one}" for one in problems)
    return ConfigError(f"failed to read text proto from {filename}\n{lines}", problems)


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
