"""What load and unload requests say: their parameters, in JSON over HTTP and as protobuf over gRPC."""

import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atoll.errors import AtollError, InternalError, InvalidArgumentError, UnsupportedError
from atoll.protocol import json_text
from atoll.tensor import Buffer

CONFIG = "config"
FILE = "file:"
UNLOAD_DEPENDENTS = "unload_dependents"
NO_REPOSITORY_NAME = "'repository_name' specification is not supported"

_PIECE = 4 * 64 * 1024  # characters decoded at once: other threads want their turn while a large file is read
_SHOWN = 100  # characters of a name that a client chose


@dataclass(frozen=True, slots=True)
class LoadParameters:
    """`config`: a model configuration as JSON text, "" for none. `files`: contents by path in the model's folder."""

    config: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


def load_from_json(body: Buffer, model_name: str) -> LoadParameters:
    """The body of POST .../load; an empty one has no parameters.

    Raises InternalError in the real server's words where something is of the wrong type, InvalidArgumentError for
    contents that are not base64.
    """
    config, files = "", {}
    for name, value in _members(body).items():
        if not isinstance(value, str):
            raise InternalError(
                f"attempt to access JSON non-string as string: load parameter {_shown(name)} must be a string"
            )
        if name == CONFIG:
            config = _config(value, model_name)
        elif name.startswith(FILE):
            files[_path(name)] = _content(name, value)
        else:
            raise InternalError(
                f"unexpected error on creating Triton parameter: {_shown(name)} is not a load parameter; "
                "they are 'config' and 'file:<version>/<name>'"
            )
    return LoadParameters(config, files)


def load_from_message(request: Any) -> LoadParameters:
    """The parameters of a RepositoryModelLoadRequest. Raises InvalidArgumentError, InternalError, UnsupportedError."""
    refuse_repository_name(request)
    config, files = "", {}
    for name, value in request.parameters.items():
        if name == CONFIG:
            _expect(value, "string_param", f"load parameter {_shown(name)}")
            config = _config(value.string_param, request.model_name)
        elif name.startswith(FILE):
            _expect(value, "bytes_param", f"load parameter {_shown(name)}")
            files[_path(name)] = value.bytes_param
        else:
            raise InvalidArgumentError(f"unrecognized load parameter {_shown(name)}.")
    return LoadParameters(config, files)


def unload_from_json(body: Buffer) -> tuple[bool, str]:
    """Whether the body of POST .../unload wants the dependent models unloaded too; and what is wrong with it.

    Like the real server, a client that says it wrongly gets its model unloaded all the same.
    """
    try:
        value = _members(body).get(UNLOAD_DEPENDENTS, False)
    except AtollError as error:
        return False, str(error)
    if type(value) is not bool:
        return False, f"'{UNLOAD_DEPENDENTS}' must be true or false"
    return value, ""


def unload_from_message(request: Any) -> bool:
    """Whether a RepositoryModelUnloadRequest wants the dependent models unloaded too. Raises InvalidArgumentError,
    UnsupportedError.
    """
    refuse_repository_name(request)
    if UNLOAD_DEPENDENTS not in request.parameters:
        return False
    value = request.parameters[UNLOAD_DEPENDENTS]
    _expect(value, "bool_param", f"'{UNLOAD_DEPENDENTS}' parameter")
    return bool(value.bool_param)


def refuse_repository_name(request: Any) -> None:
    """Raises UnsupportedError where the request names one repository among several, as the real server does."""
    if request.repository_name:
        raise UnsupportedError(NO_REPOSITORY_NAME)


def only_ready(body: Buffer) -> bool:
    """Whether the body of POST /v2/repository/index asks for ready models only. Raises InternalError."""
    document = json_text.parse(body) if len(body) else {}
    wish = document.get("ready", False) if isinstance(document, dict) else False
    if type(wish) is not bool:
        raise InternalError("attempt to access JSON non-boolean as boolean")
    return wish


def _members(body: Buffer) -> dict[str, Any]:
    document = json_text.parse(body) if len(body) else {}
    parameters = document.get("parameters", {}) if isinstance(document, dict) else {}
    if not isinstance(parameters, dict):
        raise InternalError("attempt to get members for non-object: 'parameters' must be an object")
    return parameters


def _config(text: str, model_name: str) -> str:
    """An override that is there but empty would otherwise pass for none."""
    if not text.strip():
        raise InternalError(
            f"failed to load '{model_name}', failed to poll from model repository: Invalid config override: "
            "Unexpected end of string. Expected a value."
        )
    _demand_utf8(text, "load parameter 'config'")
    return text


def _path(name: str) -> str:
    _demand_utf8(name, "the name of a load parameter")
    return name.removeprefix(FILE)


def _content(name: str, text: str) -> bytes:
    try:
        if "=" in text[:-2]:
            raise ValueError("padding stands before its end")
        pieces = (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
        return b"".join([binascii.a2b_base64(piece, strict_mode=True) for piece in pieces])
    except ValueError as error:
        raise InvalidArgumentError(
            f"load parameter {_shown(name)} must be the file's content in base64, and is not: {error}"
        ) from None


def _demand_utf8(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{what} must be UTF-8") from None


def _expect(value: Any, field_name: str, what: str) -> None:
    if value.WhichOneof("parameter_choice") != field_name:
        raise InvalidArgumentError(f"invalid value type for {what}, expected {field_name}.")


def _shown(name: str) -> str:
    text = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
    return f"'{text}'"
