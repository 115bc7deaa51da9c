"""Start-up: from the start of the process until the server says that it is ready."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.lifecycle.repositories import PYTHON_MODEL, SMALL_MODEL, copies
from benchmarks.plan import Side
from benchmarks.progress import progress
from benchmarks.samples import Spread, spread
from benchmarks.servers import RunningServer, serving

READY_SECONDS = 900.0  # hundreds of models, on whatever machine this is
LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to start one of the two servers. `threads`: --model-load-thread-count, None for the default."""

    side: Side
    command: str
    count: int
    threads: int | None = None

    @property
    def full_command(self) -> str:
        return self.command if self.threads is None else f"{self.command} --model-load-thread-count={self.threads}"


@dataclass(frozen=True, slots=True)
class Start:
    """One start. `seconds`: until ready."""

    round: int
    side: Side
    count: int
    threads: int | None
    seconds: float

    def document(self) -> dict[str, Any]:
        return asdict(self)


def settings(
    command: str, counts: Sequence[int], threads: Sequence[int], rival: str = "", rival_counts: Sequence[int] = ()
) -> list[Setting]:
    """What is started, one after the other. Thread counts make no difference to one model."""
    found = []
    for count in sorted({*counts, *(rival_counts if rival else ())}):
        if count in counts:
            found += [Setting("atoll", command, count)]
            found += [Setting("atoll", command, count, number) for number in threads if count > 1]
        if rival and count in rival_counts:
            found += [Setting("rival", rival, count)]
    return found


def order(found: Sequence[Setting], rounds: int) -> Iterator[tuple[int, Setting]]:
    """Round 0 reads the programs from the disk and is not counted; every second round runs backwards."""
    for side in dict.fromkeys(setting.side for setting in found):
        yield 0, min((one for one in found if one.side == side), key=lambda one: one.count)
    for number in range(1, rounds + 1):
        for setting in found if number % 2 else reversed(found):
            yield number, setting


def measure(found: Sequence[Setting], rounds: int, port: int, scratch: Path, output: Path) -> list[Start]:
    """Raises ServerError where a server did not become ready."""
    starts = []
    plan = list(order(found, rounds))
    for number, (round_number, setting) in enumerate(plan, 1):
        progress(f"start-up [{number}/{len(plan)}] {setting.side}, {setting.count} models")
        with started(setting, port, scratch, output / f"startup-{setting.side}.log") as (_, seconds):
            if round_number:
                starts.append(Start(round_number, setting.side, setting.count, setting.threads, seconds))
    return starts


@contextmanager
def started(setting: Setting, port: int, scratch: Path, log: Path) -> Iterator[tuple[RunningServer, float]]:
    """A ready server with its models, and how many seconds that took."""
    repository = scratch / f"{setting.side}-{setting.count}"
    if not repository.exists():
        copies(SMALL_MODEL if setting.side == "atoll" else PYTHON_MODEL, repository, setting.count)
    began = time.monotonic()
    with serving(
        setting.side, setting.full_command, repository, port, log,
        ready_seconds=READY_SECONDS, look_seconds=LOOK_SECONDS,
    ) as server:  # fmt: skip
        yield server, time.monotonic() - began


def of_setting(starts: Sequence[Start], side: Side, count: int, threads: int | None) -> Spread | None:
    """Seconds until ready over the rounds."""
    wanted = side, count, threads
    return spread(one.seconds for one in starts if (one.side, one.count, one.threads) == wanted)


def seconds_per_model(starts: Sequence[Start], side: Side, count: int, threads: int | None) -> Spread | None:
    """What each model beyond the first cost, made within a round; None where it is the first, or that has no figure."""
    least = min((one.count for one in starts if one.side == side), default=count)
    first = {one.round: one.seconds for one in starts if (one.side, one.count, one.threads) == (side, least, None)}
    return spread(
        (one.seconds - first[one.round]) / (count - least)
        for one in starts
        if (one.side, one.count, one.threads) == (side, count, threads) and count > least and one.round in first
    )
