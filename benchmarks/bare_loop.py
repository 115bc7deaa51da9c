"""The limit: `InferenceSession.run` in a loop, no server around it, at the batch sizes that a server formed.

Runs as a process of its own (python -m benchmarks.bare_loop), so that neither the runner's threads nor its memory are
in the way; the request comes as JSON on standard input, the answer goes as JSON to standard output.
"""

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Batch sizes that made fewer than this share of the rows are left out: each costs the time of a run, and moves nothing.
NEGLIGIBLE_SHARE = 0.01


class BareLoopError(RuntimeError):
    """The bare loop could not run; the message is for the person at the terminal."""


def sizes_that_matter(executions: Mapping[int, int]) -> dict[int, int]:
    """`executions` (batch size to how often) without the sizes that carried a negligible share of the rows."""
    rows = sum(size * count for size, count in executions.items())
    return {size: count for size, count in executions.items() if size * count >= NEGLIGIBLE_SHARE * rows}


def mixture_limit(executions: Mapping[int, int], seconds: Mapping[int, float]) -> float:
    """Rows per second of a loop that runs batches in this mixture and does nothing else.

    `executions`: batch size to how often it was executed. `seconds`: batch size to seconds per run, for each of them.
    """
    rows = sum(size * count for size, count in executions.items())
    busy = sum(count * seconds[size] for size, count in executions.items())
    if not rows or not busy:
        raise ValueError("no batches were executed, so there is no limit to compare with")
    return rows / busy


def session_seconds(
    model: Path, sizes: list[int], parameters: Mapping[str, str], vocabulary: int | None, budget: float
) -> dict[int, float]:
    """Seconds per run for each batch size, measured in a fresh process for about `budget` seconds in all."""
    request = {
        "model": str(model), "sizes": sizes, "parameters": dict(parameters), "vocabulary": vocabulary, "budget": budget
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bare_loop"],
        input=json.dumps(request), capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BareLoopError(f"the bare onnxruntime loop failed on {model}:\n{done.stderr}")
    return {int(size): value for size, value in json.loads(done.stdout).items()}


def _session(model: str, parameters: Mapping[str, str]) -> Any:
    # Imported here, so that the runner itself (and the arithmetic above) needs no onnxruntime.
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    # Spelt as Triton's ONNX Runtime backend spells them, so that one configuration sets both alike.
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
    if parameters.get("execution_mode", "0") == "1":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    for key, value in parameters.items():
        if key.startswith(("session.", "optimization.", "ep.", "mlas.")):
            options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _feeds(session: Any, size: int, vocabulary: int | None) -> dict[str, Any]:
    import numpy as np

    random = np.random.default_rng(0)
    feeds = {}
    for port in session.get_inputs():
        shape = [size, *port.shape[1:]]
        if port.type == "tensor(float)":
            feeds[port.name] = random.random(shape, np.float32)
        elif port.type in ("tensor(int32)", "tensor(int64)"):
            integers = random.integers(0, vocabulary or 1000, shape)
            feeds[port.name] = integers.astype(np.int32 if port.type == "tensor(int32)" else np.int64)
        else:
            raise ValueError(f"the bare loop makes no data of type {port.type} (input {port.name!r})")
    return feeds


def _measure(request: Mapping[str, Any]) -> dict[int, float]:
    session = _session(request["model"], request["parameters"])
    feeds = {size: _feeds(session, size, request["vocabulary"]) for size in request["sizes"]}
    for feed in feeds.values():
        session.run(None, feed)
    spent = dict.fromkeys(feeds, 0.0)
    runs = dict.fromkeys(feeds, 0)
    # The sizes take turns, so that a disturbance of the machine falls on all of them.
    turn = request["budget"] / len(feeds) / 3
    for _ in range(3):
        for size, feed in feeds.items():
            begun = now = time.perf_counter()
            while now - begun < turn or now == begun:
                session.run(None, feed)
                runs[size] += 1
                now = time.perf_counter()
            spent[size] += now - begun
    return {size: spent[size] / runs[size] for size in feeds}


if __name__ == "__main__":
    json.dump(_measure(json.load(sys.stdin)), sys.stdout)
