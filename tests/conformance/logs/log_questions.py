"""What is asked about the log's settings, in this order: what one question changes the next one finds."""

import json
from collections.abc import Iterator
from typing import Any

from tests.conformance import grpc_questions, questions
from tritonclient.grpc import service_pb2 as pb

PATH = "/v2/logging"
Value = pb.LogSettingsRequest.SettingValue
KEYS = ("log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format", "unknown")
VALUES = (None, True, False, 0, 1, 2, -1, 1.5, 2.0, 2**31 - 1, 2**31, 2**32 - 1, 2**32 + 3, 2**63, 2**64, 10**30, "")
VALUES += ("x", "true", "1", "default", "ISO8601", "iso8601", [], {})
TEXTS = (
    "",
    " ",
    "{}",
    "[]",
    "[1]",
    "1",
    '"x"',
    "null",
    "{",
    '{"log_info":',
    "[",
    "x",
    '{"log_info":false}x',
    "\ufeff{}",
)
SEVERAL: tuple[dict[str, Any], ...] = (
    {"log_info": False, "log_warning": False, "log_error": False, "log_verbose_level": 4, "log_format": "ISO8601"},
    {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0, "log_format": "default"},
    {"log_file": "x", "log_info": "x"},
    {"log_error": 1, "log_warning": "x", "log_info": []},
    {"log_verbose_level": -1, "log_format": "x"},
    {"log_format": "x", "log_error": 1},
    {"log_format": "x", "log_verbose_level": -1},
    {"log_info": None, "log_verbose_level": 3, "unknown": 1},
)
HALF_WRONG: tuple[dict[str, Any], ...] = (
    {"log_info": False, "log_warning": 2},
    {"log_verbose_level": 2, "log_format": "x"},
)
"""The real server takes what comes before the mistake; ours takes nothing."""
MEMBERS = ("bool_param", "uint32_param", "string_param")
RESET = {"log_info": True, "log_warning": True, "log_error": True, "log_verbose_level": 0, "log_format": "default"}


def http() -> Iterator[questions.Question]:
    yield questions.get(PATH)
    yield questions.get(PATH + "?x=1")
    yield questions.get(PATH + "/")
    for method in ("PUT", "DELETE", "PATCH"):
        yield questions.Question(f"{method} {PATH}", PATH, b"{}", method)
    for text in TEXTS:
        yield questions.ask(f"body {text!r}", text, PATH)
    for key in KEYS:
        for value in VALUES:
            yield questions.ask(f"{key} {value!r}", {key: value}, PATH)
        yield questions.ask(f"after {key}", RESET, PATH)
    for one in SEVERAL:
        yield questions.ask(json.dumps(one), one, PATH)
    yield questions.ask('twice: {"log_info": false, "log_info": true}', '{"log_info": false, "log_info": true}', PATH)
    yield questions.ask("as before", RESET, PATH)


def half_wrong() -> Iterator[questions.Question]:
    for one in HALF_WRONG:
        yield questions.ask(f"half wrong: {json.dumps(one)}", one, PATH)
        yield questions.ask(f"after {json.dumps(one)}", "{}", PATH)
        yield questions.ask(f"reset after {json.dumps(one)}", RESET, PATH)


def rpc(name: str, **settings: Any) -> grpc_questions.Question:
    return grpc_questions.Question(name, "LogSettings", [pb.LogSettingsRequest(settings=settings)])


def grpc() -> Iterator[grpc_questions.Question]:
    values = {
        "nothing": Value(),
        **{f"bool {value}": Value(bool_param=value) for value in (True, False)},
        **{f"uint32 {value}": Value(uint32_param=value) for value in (0, 1, 7, 2**31 - 1, 2**31, 2**32 - 1)},
        **{f"string {value!r}": Value(string_param=value) for value in ("", "x", "default", "ISO8601", "iso8601")},
    }
    reset = {
        **{key: Value(bool_param=True) for key in ("log_info", "log_warning", "log_error")},
        "log_verbose_level": Value(uint32_param=0),
        "log_format": Value(string_param="default"),
    }
    yield rpc("no settings")
    for key in KEYS:
        for name, value in values.items():
            yield rpc(f"{key}: {name}", **{key: value})
        yield rpc(f"after {key}", **reset)
    yield rpc("wrong format and level", log_format=Value(string_param="x"), log_verbose_level=Value(bool_param=True))
    yield rpc("wrong switches", log_error=Value(), log_warning=Value(), log_info=Value())
    yield rpc("a file and a wrong switch", log_file=Value(string_param="x"), log_info=Value())
    yield rpc("as before", **reset)
