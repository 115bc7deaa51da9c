"""Reload under load: clients in other processes ask without a pause while the model's file is replaced and loaded."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lifecycle.answers import Change, Kind, Phase, Tally, seen, tally
from benchmarks.lifecycle.control import Control
from benchmarks.lifecycle.repositories import BENCHMARKS, SCALE, ScaleModel
from benchmarks.plan import PROTOCOLS, Protocol
from benchmarks.progress import progress
from benchmarks.servers import ServerError, serving

GAP_SECONDS = 0.2  # between two loads, so that answers of each model can be seen
CLIENT_SECONDS = 60.0
ALL = "all"


@dataclass(frozen=True, slots=True)
class Reloads:
    """What happened. `published`: how many different files; `seen`: of how many of them answers came."""

    clients: int
    changes: tuple[Change, ...]
    tallies: dict[Protocol, tuple[Tally, ...]]
    published: int
    seen: int
    failures: tuple[str, ...]

    def total(self, protocol: Protocol) -> Tally:
        return next(one for one in self.tallies[protocol] if one.phase == ALL)

    @property
    def failed(self) -> int:
        return sum(self.total(protocol).failed for protocol in self.tallies)

    @property
    def wrong(self) -> int:
        return sum(self.total(protocol).wrong for protocol in self.tallies)

    @property
    def clean(self) -> bool:
        """Whether every request was answered, by the right model, and every model was seen."""
        asked = all(self.total(protocol).requests for protocol in self.tallies)
        return bool(self.tallies) and asked and not self.failed and not self.wrong and self.seen == self.published

    def document(self) -> dict[str, Any]:
        return {
            "clients": self.clients,
            "published": self.published,
            "seen": self.seen,
            "failures": list(self.failures),
            "changes": [one.document() for one in self.changes],
            "tallies": {name: [one.document() for one in found] for name, found in self.tallies.items()},
        }


def measure(
    command: str, reloads: int, clients: int, quiet_seconds: float, port: int, scratch: Path, output: Path
) -> Reloads:
    """`clients` of each protocol. Raises ServerError, ControlError; a request that fails is counted."""
    model = ScaleModel(scratch / "reload", range(1, reloads + 2))
    model.set_instances(1)
    explicit = f"{command} --model-control-mode=explicit"
    changes: list[Change] = []
    phases: list[Phase] = []
    with serving("atoll", explicit, model.repository, port, output / "reload-atoll.log") as server:
        control = Control(server.http_port)

        def change(kind: Kind, factor: int) -> None:
            began = time.monotonic_ns()
            control.load(SCALE)
            changes.append(Change(kind, factor, began, time.monotonic_ns()))

        @contextlib.contextmanager
        def phase(name: str) -> Iterator[None]:
            began = time.monotonic_ns()
            yield
            phases.append(Phase(name, began, time.monotonic_ns()))

        model.publish(1)
        change("load", 1)
        with Clients([(one, server.port(one)) for one in PROTOCOLS for _ in range(clients)], scratch) as running:
            time.sleep(1.0)  # until all have begun
            with phase(ALL):
                with phase("no reloads"):
                    time.sleep(quiet_seconds)
                with phase("model reloaded"):
                    for number in range(1, reloads + 1):
                        progress(f"reload [{number}/{reloads}]")
                        model.publish(number + 1)
                        change("reload", number + 1)
                        time.sleep(GAP_SECONDS)
                with phase("instances changed"):
                    for number in range(1, reloads + 1):
                        progress(f"instances [{number}/{reloads}]")
                        model.set_instances(number % 3 + 1)
                        change("instances", reloads + 1)
                        time.sleep(GAP_SECONDS)
            answers, failures = running.finish()
    return Reloads(
        clients,
        tuple(changes),
        {protocol: tuple(tally(found, one, changes) for one in phases) for protocol, found in answers.items()},
        reloads + 1,
        len(seen(np.concatenate(list(answers.values())))),
        tuple(failures),
    )


class Clients:
    """Client processes, from the beginning of the block until `finish`, or the end of the block."""

    def __init__(self, targets: Sequence[tuple[Protocol, int]], scratch: Path) -> None:
        self._targets = targets
        self._files = [scratch / f"answers-{number}.npy" for number in range(len(targets))]
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Clients":
        for seed, ((protocol, port), file) in enumerate(zip(self._targets, self._files, strict=True)):
            client = ["-m", "benchmarks.lifecycle.client", protocol, str(port), str(seed), str(file)]
            command = [sys.executable, *client]
            process = subprocess.Popen(
                command, cwd=BENCHMARKS.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._processes.append(process)
        return self

    def finish(self) -> tuple[dict[Protocol, np.ndarray], list[str]]:
        """Let them send no more; the answers by protocol, and the first few failures of each."""
        for process in self._processes:
            assert process.stdin is not None, "asked for as a pipe. This is a bug"
            process.stdin.close()
        answers: dict[Protocol, list[np.ndarray]] = {}
        failures = []
        for (protocol, _), file, process in zip(self._targets, self._files, self._processes, strict=True):
            assert process.stdout is not None, "asked for as a pipe. This is a bug"
            failures += [f"{protocol}: {json.loads(line)}" for line in process.stdout]
            if process.wait(CLIENT_SECONDS):
                raise ServerError(f"a {protocol} client ended with status {process.returncode}; see above")
            answers.setdefault(protocol, []).append(np.load(file))
        return {protocol: np.concatenate(found) for protocol, found in answers.items()}, failures

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
