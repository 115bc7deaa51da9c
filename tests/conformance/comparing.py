"""When two answers count as the same: what may differ by right is named here, everything else may not.

May differ:
- the version of the server;
- what names the backend: platform, backend, default_model_filename;
- points in time, durations and counts in statistics, where only the shape of the document is compared;
- the content type of an error: the real server often says text/plain of a JSON document, Atoll says application/json;
- the content type of an answer without a body;
- an error text may say more than the real server's: it must contain it;
- how a JSON text spells a fraction or a control character (1e+30 for 1e30, \\u001f for \\u001F), not what they are.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

BACKEND_NAMES = ("platform", "backend", "default_model_filename")
STATISTICS = "model_stats"
VARIABLE_LISTS = ("batch_stats", "response_stats", "memory_usage")


def expect_alike(expected: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    """Fails where answers differ from those that are expected: one record, or records by kind and question."""
    wrong = record_differences(expected, got)
    assert not wrong, json.dumps(wrong, indent=1)


def record_differences(expected: Mapping[str, Any], got: Mapping[str, Any], title: str = "") -> dict[str, list[str]]:
    """What differs, by the answers' titles; each that is expected must be there."""
    if "status" in expected:
        found = answer_differences(expected, got)
        return {title: found} if found else {}
    wrong: dict[str, list[str]] = {}
    for name, one in expected.items():
        wrong |= record_differences(one, got[name], f"{title}, {name}" if title else name)
    return wrong


def answer_differences(expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """What differs between two records of answers of either protocol."""
    return (http_differences if isinstance(expected["status"], int) else grpc_differences)(expected, got)


def http_differences(expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """What differs between two records of HTTP answers, in words; empty when nothing does."""
    if expected["status"] != got["status"]:
        return [f"status {expected['status']} became {got['status']} with {_body(got)[:300]!r}"]
    wanted, body = _body(expected), _body(got)
    error = _error(wanted)
    if error is not None:
        return error_differences(error, body)
    if wanted and expected["headers"].get("content-type") != got["headers"].get("content-type"):
        return [f"headers {expected['headers']} became {got['headers']}"]
    if _comparable(expected, wanted) != _comparable(got, body):
        return [f"body\n{wanted[:2000]!r}\nbecame\n{body[:2000]!r}"]
    return []


def error_differences(expected: str, body: bytes) -> list[str]:
    """An error document must be one, and contain the expected text."""
    text = _error(body)
    if text is None:
        return [f"an error became {body[:300]!r}"]
    return [] if expected in text else [f"error text\n{expected!r}\nbecame\n{text!r}"]


def grpc_differences(expected: Mapping[str, Any], got: Mapping[str, Any]) -> list[str]:
    """The same for records of gRPC answers."""
    if expected["status"] != got["status"]:
        return [f"status {expected['status']} became {got['status']}: {got['details']!r}"]
    differences = []
    if expected["details"] not in got["details"]:
        differences.append(f"details\n{expected['details']!r}\nbecame\n{got['details']!r}")
    if expected["metadata"] != got["metadata"]:
        differences.append(f"metadata {expected['metadata']} became {got['metadata']}")
    if len(expected["messages"]) != len(got["messages"]):
        return [*differences, f"{len(expected['messages'])} messages became {got['messages']}"]
    for wanted, message in zip(expected["messages"], got["messages"], strict=True):
        text = wanted.get("error_message", "")
        if text and text in message.get("error_message", ""):
            message = {**message, "error_message": text}
        if normal(wanted) != normal(message):
            differences.append(f"message\n{normal(wanted)}\nbecame\n{normal(message)}")
    return differences


def _comparable(record: Mapping[str, Any], body: bytes) -> tuple[Any, bytes]:
    """The JSON part and the bytes behind it. The members of an inference answer keep their order."""
    length = int(record["headers"].get("inference-header-content-length", len(body)))
    text, rest = body[:length], body[length:]
    try:
        document = json.loads(text)
    except ValueError:
        return None, body
    if isinstance(document, dict) and "model_name" in document:
        return json.loads(text, object_pairs_hook=tuple, parse_constant=str), rest
    return normal(document), rest


def normal(value: Any) -> Any:
    """A document's value with what may differ taken out."""
    if isinstance(value, list):
        return [normal(item) for item in value]
    if not isinstance(value, dict):
        return value
    if STATISTICS in value:
        return {**value, STATISTICS: [_shape(item) for item in value[STATISTICS]]}
    result = {key: normal(item) for key, item in value.items() if key not in BACKEND_NAMES}
    if "extensions" in result:
        result.pop("version", None)
    return result


def _shape(value: Any) -> Any:
    """A statistics document without its numbers; a zero that protobuf leaves out is the same as one that is there."""
    if not isinstance(value, dict):
        return value if isinstance(value, str) and not value.isdigit() else 0
    zeros = ("last_inference", "inference_count", "execution_count", "count", "ns")
    return {
        key: item if key in ("name", "version") else _shape(item)
        for key, item in value.items()
        if key not in zeros and key not in VARIABLE_LISTS
    }


def _body(record: Mapping[str, Any]) -> bytes:
    return base64.b64decode(record["base64"]) if "base64" in record else str(record["body"]).encode()


def _error(body: bytes) -> str | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    if isinstance(document, dict) and list(document) == ["error"]:
        return str(document["error"])
    return None
