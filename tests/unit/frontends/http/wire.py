"""Requests as bytes, and a client that reads answers from a socket one by one."""

import asyncio
import json
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    head: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(method: str, path: str, body: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def infer(model: str = "echo", data: bytes = b"\0" * 16, id: str = "", *headers: str) -> bytes:
    """A binary request with one FP32 tensor, binary back."""
    document: dict[str, Any] = {"id": id} if id else {}
    size = {"binary_data_size": len(data)}
    document["inputs"] = [{"name": "IN", "datatype": "FP32", "shape": [1, len(data) // 4], "parameters": size}]
    document["parameters"] = {"binary_data_output": True}
    text = json.dumps(document, separators=(",", ":")).encode()
    length = f"Inference-Header-Content-Length: {len(text)}"
    return request("POST", f"/v2/models/{model}/infer", text + data, length, *headers)


class Client:
    """One connection; a wait longer than `timeout` seconds fails the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float = 20):
        self.reader = reader
        self.writer = writer
        self.timeout = timeout

    @classmethod
    async def connect(cls, address: tuple[str, int], limit: int = 2**16) -> "Client":
        return cls(*await asyncio.open_connection(*address, limit=limit))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, head_only: bool = False) -> Reply:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), self.timeout)
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = 0 if head_only else int(headers.get("Content-Length", "0"))
        body = await asyncio.wait_for(self.reader.readexactly(length), self.timeout)
        return Reply(int(first.split()[1]), headers, body, head)

    async def ask(self, data: bytes) -> Reply:
        self.send(data)
        return await self.reply()

    async def closed(self) -> bytes:
        """What still comes before the server closes."""
        return await asyncio.wait_for(self.reader.read(), self.timeout)

    def close(self) -> None:
        self.writer.close()
