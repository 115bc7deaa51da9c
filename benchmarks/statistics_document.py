"""What happened on a server between two readings of /v2/models/NAME/stats, the same document on both servers."""

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Counts:
    """Requests answered and failed, and how often each batch size was executed; all since the server's start."""

    succeeded: int
    failed: int
    executions: Mapping[int, int]

    def since(self, earlier: "Counts") -> "Counts":
        grown = {size: count - earlier.executions.get(size, 0) for size, count in self.executions.items()}
        return Counts(
            succeeded=self.succeeded - earlier.succeeded,
            failed=self.failed - earlier.failed,
            executions={size: count for size, count in sorted(grown.items()) if count > 0},
        )

    @property
    def mean_batch(self) -> float | None:
        """Rows per execution; None when nothing was executed or the server keeps no batch statistics."""
        runs = sum(self.executions.values())
        return sum(size * count for size, count in self.executions.items()) / runs if runs else None


def parse_counts(document: Mapping[str, Any]) -> Counts:
    """Sums over the model's versions. Numbers may be strings: protobuf's JSON mapping writes 64-bit integers so."""
    succeeded = failed = 0
    executions: dict[int, int] = {}
    for version in document["model_stats"]:
        totals = version.get("inference_stats", {})
        succeeded += int(totals.get("success", {}).get("count", 0))
        failed += int(totals.get("fail", {}).get("count", 0))
        for batch in version.get("batch_stats", []):
            size = int(batch["batch_size"])
            executions[size] = executions.get(size, 0) + int(batch["compute_infer"]["count"])
    return Counts(succeeded, failed, executions)


def read_counts(http_port: int, model: str) -> Counts:
    """Asks the server on this machine.

    Raises:
        OSError: it does not answer, or not with 200.
    """
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/v2/models/{model}/stats", timeout=30) as answer:
        return parse_counts(json.load(answer))


def read_parameters(http_port: int, model: str) -> dict[str, str]:
    """The `parameters` of the model's configuration as the server runs it: key to string value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/v2/models/{model}/config", timeout=30) as answer:
        parameters = json.load(answer).get("parameters", {})
    return {key: value["string_value"] for key, value in parameters.items()}
