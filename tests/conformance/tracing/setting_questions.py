"""Questions about trace settings over both protocols, and how a server's answers are written down."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from tests.conformance.model_folders import write_identity
from tests.conformance.process import ServerProcess
from tests.conformance.wire import Exchange
from tritonclient.grpc import service_pb2, service_pb2_grpc

Q = tuple[str, str, str | None]
ALL = "/v2/trace/setting"
ONE = "/v2/models/echo/trace/setting"
TRACE_FILE = "TRACE_FILE"  # in place of its path, in records

_BODIES = (
    "{}",
    '{"trace_level":"TIMESTAMPS"}',
    '{"trace_level":["TIMESTAMPS"]}',
    '{"trace_level":["TENSORS","TIMESTAMPS"]}',
    '{"trace_level":["TENSORS","TENSORS"]}',
    '{"trace_level":[]}',
    '{"trace_level":["TENSORS"]}',
    '{"trace_level":["OFF"]}',
    '{"trace_level":["OFF","TIMESTAMPS"]}',
    '{"trace_level":["TIMESTAMPS","OFF"]}',
    '{"trace_level":["OFF","OFF"]}',
    '{"trace_level":["MIN"]}',
    '{"trace_level":["MAX"]}',
    '{"trace_level":["timestamps"]}',
    '{"trace_level":["BAD"]}',
    '{"trace_level":["BAD","TENSORS"]}',
    '{"trace_level":[1]}',
    '{"trace_level":1}',
    '{"trace_level":null}',
    '{"trace_level":[null]}',
    *(
        f'{{"trace_rate":{value}}}'
        for value in (
            '"5"',
            "5",
            '"0"',
            '"-1"',
            '"x"',
            '"5x"',
            '""',
            '" 7"',
            '"+7"',
            '"0x10"',
            '"99999999999999"',
            '"4294967295"',
            '"2147483648"',
            '"2147483647"',
            '"-2147483648"',
            '"-2147483649"',
            '["8"]',
            "[]",
            "true",
            "1.5",
            "{}",
            "null",
        )
    ),
    *(
        f'{{"trace_count":{value}}}'
        for value in ('"5"', "5", '"-1"', '"-2"', "-3", '"x"', '"0"', '"99999999999"', "null")
    ),
    *(f'{{"log_frequency":{value}}}' for value in ('"5"', '"-5"', '"x"', '"99999999999"', "6", "null")),
    *(f'{{"trace_file":{value}}}' for value in ('"/tmp/other.json"', '""', "5", "null")),
    '{"trace_mode":"opentelemetry"}',
    '{"trace_mode":null}',
    '{"unknown":"1"}',
    '{"trace_rate":"3","unknown":"1"}',
    '{"trace_rate":"13","trace_count":"x"}',
    '{"trace_rate":"x","trace_level":["OFF","TENSORS"]}',
    "",
    "[]",
    '{"trace_rate"',
    "null",
    "5",
    '{"trace_rate":"9","trace_level":["TIMESTAMPS"],"trace_count":"4","log_frequency":"2"}',
)
_INHERITANCE: Sequence[Q] = (
    ("POST", ALL, '{"trace_rate":null,"trace_level":null,"trace_count":null,"log_frequency":null}'),
    ("GET", ALL, None),
    ("GET", ONE, None),
    ("POST", ONE, '{"trace_rate":"3"}'),
    ("GET", ALL, None),
    ("POST", ALL, '{"trace_level":["TENSORS"],"trace_rate":"11"}'),
    ("GET", ONE, None),
    ("GET", "/v2/models/other/trace/setting", None),
    ("POST", ONE, '{"trace_file":"/tmp/echo.json"}'),
    ("POST", ONE, '{"trace_level":["OFF"]}'),
    ("POST", ONE, '{"trace_count":"3","log_frequency":"9"}'),
    ("POST", ALL, '{"trace_count":"77"}'),
    ("GET", ONE, None),
    ("POST", ONE, '{"trace_rate":"x","trace_count":null}'),
    ("GET", ONE, None),
    ("POST", ONE, '{"trace_rate":null,"trace_level":null,"trace_count":null,"log_frequency":null}'),
    ("POST", ONE, "{}"),
    ("GET", "/v2/models/nosuch/trace/setting", None),
    ("POST", "/v2/models/nosuch/trace/setting", '{"trace_rate":"3"}'),
    ("POST", "/v2/models/nosuch/trace/setting", '{"trace_rate":"x"}'),
    ("GET", "/v2/models/echo/versions/1/trace/setting", None),
    ("PUT", ALL, ""),
    ("DELETE", ONE, ""),
    ("GET", "/v2/trace/settings", None),
    ("POST", ALL, '{"trace_rate":null,"trace_level":null,"trace_count":null,"log_frequency":null}'),
)
_GRPC: Sequence[tuple[str, Mapping[str, Sequence[str]]]] = (
    ("", {}),
    ("echo", {}),
    ("nosuch", {}),
    ("nosuch", {"trace_rate": ["x"]}),
    ("", {"trace_level": ["TIMESTAMPS"]}),
    ("", {"trace_level": ["TENSORS", "TIMESTAMPS"]}),
    ("", {"trace_level": ["OFF", "TIMESTAMPS"]}),
    ("", {"trace_level": ["BAD"]}),
    ("", {"trace_level": []}),
    ("", {"trace_rate": ["5"]}),
    ("", {"trace_rate": ["6", "7"]}),
    ("", {"trace_rate": ["x"]}),
    ("", {"trace_rate": [""]}),
    ("", {"trace_rate": ["99999999999"]}),
    ("", {"trace_rate": ["-1"]}),
    ("", {"trace_rate": []}),
    ("", {"trace_count": ["5"]}),
    ("", {"trace_count": ["5", "6"]}),
    ("", {"trace_count": ["-2"]}),
    ("", {"trace_count": ["x"]}),
    ("", {"trace_count": []}),
    ("", {"log_frequency": ["5"]}),
    ("", {"log_frequency": ["5", "6"]}),
    ("", {"log_frequency": ["x"]}),
    ("", {"log_frequency": []}),
    ("", {"trace_file": ["/tmp/other.json"]}),
    ("", {"trace_file": []}),
    ("", {"trace_mode": ["opentelemetry"]}),
    ("", {"unknown": ["1"]}),
    ("echo", {"trace_rate": ["3"], "trace_level": ["TENSORS"]}),
    ("", {"trace_rate": ["4"]}),
    ("echo", {}),
    ("echo", {"trace_rate": []}),
    ("echo", {"trace_level": []}),
)


def http_questions() -> Iterator[Q]:
    """In their order: some change what later ones are answered."""
    for body in _BODIES:
        yield "POST", ALL, body
    yield from _INHERITANCE


def ask_http(server: ServerProcess, trace_file: str) -> list[dict[str, Any]]:
    """Each question with its answer."""
    answers = []
    for method, path, body in http_questions():
        answer = Exchange.ask(
            "127.0.0.1", server.ports["http"], method, path, body=None if body is None else body.encode()
        )
        text = answer.body.decode()
        if trace_file:
            text = text.replace(trace_file, TRACE_FILE)
        answers.append(
            {
                "question": " ".join(filter(None, (method, path, body))),
                "status": answer.status,
                "type": answer.headers.get("content-type", ""),
                "answer": json.loads(text) if text else None,
            }
        )
    return answers


def ask_grpc(server: ServerProcess, trace_file: str) -> list[dict[str, Any]]:
    """The same over gRPC."""
    answers = []
    with grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for model, settings in _GRPC:
            message = service_pb2.TraceSettingRequest(model_name=model)
            for name, values in settings.items():
                message.settings[name].value.extend(values)
            record: dict[str, Any] = {"question": [model, settings]}
            try:
                answer = MessageToDict(stub.TraceSetting(message, timeout=30), preserving_proto_field_name=True)
                text = json.dumps(answer)
                record["answer"] = json.loads(text.replace(trace_file, TRACE_FILE) if trace_file else text)
            except grpc.RpcError as error:
                record["status"] = error.code().name
                record["details"] = error.details()
            answers.append(record)
    return answers


def write_models(repository: Path) -> Path:
    """`echo` and `other` give back what they get."""
    for name in ("echo", "other"):
        write_identity(repository, name, "INT32", more="instance_group [{ count: 1 kind: KIND_CPU }]\n")
    return repository
