"""Asks the real server about restricted APIs: python -m tests.conformance.access.record_restricted"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from tests.conformance import comparing
from tests.conformance.access import restricted_questions as asked
from tests.conformance.access.asking_access import grpc_record, http_record, refusal_of, write_models
from tests.conformance.process import REAL_TRITON, ServerProcess, start_real_triton
from tests.conformance.recording import write_down


def answers(server: ServerProcess) -> dict[str, Any]:
    """A server's, by protocol and question."""
    with grpc.insecure_channel(server.grpc) as channel:
        return {
            "http": {one.name: http_record(server, one) for one in asked.http()},
            "grpc": {one.name: comparing.normal(grpc_record(channel, one)) for one in asked.grpc()},
        }


def _refusal(option: str, words: Sequence[str], empty: Path) -> str:
    ports = [f"--{name}-port={port}" for name, port in (("http", 9301), ("grpc", 9302), ("metrics", 9303))]
    given = [f"{option}={word}" for word in words]
    return refusal_of([str(REAL_TRITON), f"--model-repository={empty}", *ports, *given])


def record(folder: Path) -> dict[str, Any]:
    """The real server's answers, and what it says of options that it does not take."""
    empty = folder / "empty"
    empty.mkdir()
    wrong = [(word,) for word in asked.REFUSED] + list(asked.TWICE)
    refusals = {
        option: {" ".join(words): _refusal(option, words, empty) for words in wrong}
        for option in (asked.HTTP, asked.GRPC)
    }
    taken = [f"{option}={word}" for option in (asked.HTTP, asked.GRPC) for word in asked.TAKEN]
    with start_real_triton(empty, folder / "log", *taken):
        pass
    models = write_models(folder / "models")
    with start_real_triton(
        models, folder / "log", "--model-control-mode=explicit", "--load-model=identity", *asked.GROUPS
    ) as server:
        return {"refused": refusals, **answers(server)}


if __name__ == "__main__":
    sys.exit(write_down(record, "restricted"))
