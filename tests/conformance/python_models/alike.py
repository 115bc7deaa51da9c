"""When two answers about a Python model count as the same. What may differ, besides what `comparing` names:

- the frames of a traceback that are not in the model's own files;
- what an error about arguments of a wrong type says, but not that it is a TypeError;
- how a sentence that goes on in Atoll's error ends in the real server's;
- objects' addresses, and which module of ours a class of pb_utils is in;
- that an error of a metric has come through the process that the model runs in;
- what a model's module is called where several are in one process, and the parameter that puts them there;
- whether a model that is being unloaded gets there: Atoll's always has to.
"""

import json
import re
from typing import Any

from tests.conformance.comparing import grpc_differences, http_differences

_ADDRESS = re.compile(r"0x[0-9a-f]{6,}|0x\.\.\.")
_INCOMPATIBLE = re.compile(r"incompatible (?:constructor|function) arguments\.")
_TYPE_ERROR = re.compile(r"TypeError: .*?(?=\n\nAt:|\Z)", re.DOTALL)
_FRAME = re.compile(r"^  (?!/models/)[^\n]+\(\d+\): [^\n]+\n?", re.MULTILINE)
_THROUGH = re.compile(r"(?<=: )Failed to process the request for model '\w+', message: ")
_THREADS_MODULE = re.compile(r"atoll_model_\d+_\w+\.model")
_THREADS_PARAMETER = re.compile(
    r',?"isolation":\{"string_value":"thread"\}(?=\})|"isolation":\{"string_value":"thread"\},'
)
_ERROR_BODY = re.compile(r'^(\{"error":".*?)(?:[.;]|\\n)+"\}$')
_MODULE = re.compile(
    r"c_python_backend_utils\.|triton_python_backend_utils\.|atoll\.backends\.python\.utils\.(?:\w+\.)*"
)


def differences(expected: Any, got: Any) -> list[str]:
    """What differs, in words; empty when nothing does."""
    if isinstance(expected, dict) and "settled" in expected:
        return [] if got == {"settled": True} else [f"became {got}"]
    loosely = _INCOMPATIBLE.search(json.dumps(expected)) is not None
    expected, got = _open_ended(plain(expected, loosely)), plain(got, loosely)
    if isinstance(expected, dict) and "headers" in expected:
        return http_differences(expected, got) if "headers" in got else [f"became {got}"]
    if isinstance(expected, dict) and "metadata" in expected:
        return grpc_differences(expected, got) if "metadata" in got else [f"became {got}"]
    return _of_documents(expected, got)


def _open_ended(value: Any) -> Any:
    """An error's text without the full stop, or the semicolon after it, that the rest of Atoll's text would follow."""
    if isinstance(value, dict):
        keys = ("error", "reason", "details", "error_message")
        return {
            key: _ERROR_BODY.sub(r'\1"}', item)
            if key == "body"
            else item.rstrip(".;\n")
            if key in keys and isinstance(item, str)
            else _open_ended(item)
            for key, item in value.items()
        }
    return [_open_ended(item) for item in value] if isinstance(value, list) else value


def plain(value: Any, loosely: bool = False) -> Any:
    """Without what may differ. `loosely`: without what a TypeError says."""
    if isinstance(value, dict):
        return {key: _body(item, loosely) if key == "body" else plain(item, loosely) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, loosely) for item in value]
    return _text(value, loosely) if isinstance(value, str) else value


def _body(body: str, loosely: bool) -> str:
    body = _THREADS_PARAMETER.sub("", body)
    try:
        return json.dumps(plain(json.loads(body), loosely), separators=(",", ":"))
    except ValueError:
        return body


def _text(text: str, loosely: bool) -> str:
    text = _THREADS_MODULE.sub("1.model", _ADDRESS.sub("0x...", text))
    if loosely:
        text = _TYPE_ERROR.sub("TypeError", text)
    text = _THROUGH.sub("", _MODULE.sub("", _FRAME.sub("", text)))
    return text.removesuffix("\n")


def _of_documents(expected: Any, got: Any, where: str = "") -> list[str]:
    if isinstance(expected, dict) and isinstance(got, dict):
        if set(expected) != set(got):
            return [f"{where or 'answer'} {expected} became {got}"]
        return [line for key in expected for line in _of_documents(expected[key], got[key], f"{where}.{key}")]
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return [line for number, (one, other) in pairs for line in _of_documents(one, other, f"{where}[{number}]")]
    if isinstance(expected, str) and isinstance(got, str) and where.endswith((".reason", ".error")):
        return [] if expected in got else [f"{where}\n{expected!r}\nbecame\n{got!r}"]
    return [] if expected == got else [f"{where}\n{expected!r}\nbecame\n{got!r}"]
