"""A server in a program traces its own requests, as a process does those of clients."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atoll
from atoll.errors import InvalidArgumentError, UnsupportedError

X = {"X": np.array([1, 2], np.float32)}


def serve(folder: Path, *config: str) -> atoll.Server:
    server = atoll.Server(trace_config=[f"triton,file={folder / 'trace.json'}", "rate=1", *config])
    server.add_model("echo", lambda **inputs: inputs["X"], inputs={"X": ("FP32", [-1])}, outputs={"Y": ("FP32", [-1])})
    server.add_model("fails", fail, inputs={"X": ("FP32", [-1])}, outputs={"Y": ("FP32", [-1])})
    return server


def fail(X: Any) -> Any:  # noqa: N803 - the input's name
    raise InvalidArgumentError("it fails")


def read(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "trace.json").read_text())
    return entries


def test_each_way_to_infer_is_traced(tmp_path: Path) -> None:
    with serve(tmp_path, "level=TIMESTAMPS", "level=TENSORS") as server:
        server.infer("echo", X, request_id="infer")
        asyncio.run(server.async_infer("echo", X, request_id="async"))
        with pytest.raises(InvalidArgumentError):
            server.infer("fails", X, request_id="fails")
        with pytest.raises(InvalidArgumentError):
            server.infer("echo", {"X": np.zeros((2, 2), np.float32)}, request_id="refused")
    entries = read(tmp_path)
    described = {entry["request_id"]: entry["id"] for entry in entries if "model_name" in entry}
    assert described == {"infer": 1, "async": 2, "fails": 3, "refused": 4}
    ended = {entry["id"] for entry in entries if "REQUEST_END" in str(entry)}
    assert ended == {1, 2, 3, 4}
    outputs = [entry["tensor"]["data"] for entry in entries if entry.get("activity") == "TENSOR_BACKEND_OUTPUT"]
    assert outputs == ["1,2", "1,2"]


def test_settings_are_changed_by_their_names_in_the_protocol(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        server.infer("echo", X, request_id="before")
        assert server.change_trace_settings({"trace_level": ["TIMESTAMPS"]}, "echo")["trace_level"] == ["TIMESTAMPS"]
        assert server.trace_settings()["trace_level"] == ["OFF"]
        server.infer("echo", X, request_id="after")
        with pytest.raises(InvalidArgumentError, match="Request for unknown model : nosuch"):
            server.trace_settings("nosuch")
        with pytest.raises(UnsupportedError, match="trace file location"):
            server.change_trace_settings({"trace_file": ["/tmp/x"]})
        assert server.trace_settings("echo")["trace_count"] == "-1"
    assert [entry["request_id"] for entry in read(tmp_path) if "model_name" in entry] == ["after"]


def test_a_server_with_settings_that_cannot_be_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no folder"):
        serve(tmp_path / "nowhere", "level=TIMESTAMPS")


def test_without_traces_there_is_no_file_and_no_thread(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        server.infer("echo", X)
    assert not (tmp_path / "trace.json").exists()
