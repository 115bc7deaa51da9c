"""How questions about access are asked, and their answers written down; and the model that they are about."""

import base64
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from tests.conformance.access.restricted_questions import GrpcQuestion, HttpQuestion
from tests.conformance.grpc_questions import as_record
from tests.conformance.model_folders import write_identity
from tests.conformance.process import HOST, ROOT, ServerProcess
from tests.conformance.wire import Exchange
from tritonclient.grpc import service_pb2_grpc

HEALTH = "/grpc.health.v1.Health/Check"


def write_models(root: Path, *names: str) -> Path:
    """Models that give their input back. Returns `root`."""
    for name in names or ("identity",):
        write_identity(root, name)
    return root


def ask_http(
    port: int, method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None
) -> Exchange:
    """One request on a connection of its own; headers may be there twice."""
    lines = [("Host", "localhost"), *headers]
    if body is not None:
        lines.append(("Content-Length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    with socket.create_connection((HOST, port), 30) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b""))
        return Exchange.read(connection)


def http_record(server: ServerProcess, question: HttpQuestion) -> dict[str, Any]:
    """Status, content type and body of the answer."""
    answer = ask_http(server.ports["http"], question.method, question.path, question.headers, question.body)
    kept = {name: answer.headers[name] for name in ("content-type",) if name in answer.headers}
    return {"status": answer.status, "headers": kept, "body": answer.body.decode()}


def grpc_record(channel: grpc.Channel, question: GrpcQuestion) -> dict[str, Any]:
    """Status, its text, the metadata's names and the messages of the answer."""
    call: Any = None
    messages: list[Any] = []
    try:
        if question.method == "ModelStreamInfer":
            stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer
            call = stream(iter(question.messages), timeout=30, metadata=question.metadata)
            messages.extend(call)
        elif question.method == "Check":
            answer, call = channel.unary_unary(HEALTH).with_call(b"", timeout=30, metadata=question.metadata)
            messages.append(answer)
        else:
            method = getattr(service_pb2_grpc.GRPCInferenceServiceStub(channel), question.method)
            answer, call = method.with_call(question.messages[0], timeout=30, metadata=question.metadata)
            messages.append(answer)
    except grpc.RpcError as error:
        call = error
    return as_record(call, [_document(one) for one in messages])


def _document(message: Any) -> Any:
    if isinstance(message, bytes):
        return {"bytes": base64.b64encode(message).decode()}
    return MessageToDict(message, preserving_proto_field_name=True)


def refusal_of(command: Sequence[str]) -> str:
    """What a server that is not to start says last; "" where it starts nevertheless."""
    try:
        ended = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return ""
    lines = [line for line in ended.stdout.splitlines() if line.strip()]
    return lines[-1].strip() if ended.returncode else ""
