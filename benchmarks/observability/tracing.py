"""Servers that trace, in both modes, and one sample of one of them at one rate."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.lifecycle.control import Control, ControlError
from benchmarks.lifecycle.repositories import BENCHMARKS, SMALL_MODEL
from benchmarks.load import LoadError, LoadGenerator
from benchmarks.observability.plan import (
    EXPORT,
    EXPORT_SECONDS,
    LOG_FREQUENCY,
    MODES,
    OFF,
    RATES,
    TRACED,
    Condition,
    Mode,
    rate_title,
)
from benchmarks.observability.receiver import RunningReceiver
from benchmarks.observability.served import Observation, ServerBench, observe
from benchmarks.plan import Case, Protocol, Side
from benchmarks.progress import progress
from benchmarks.servers import RunningServer, ServerError, serving
from benchmarks.session import Session

PYTHON_MODEL = BENCHMARKS / "python" / "models" / "python_identity"
ALONE = (SMALL_MODEL.name,)  # what is measured without the rival too
TITLES: Mapping[Side, str] = {"atoll": "Atoll", "rival": "real Triton"}


@dataclass(frozen=True)
class Cell:
    """What is measured: a rate of 0 is no trace at all."""

    round: int
    case: Case
    mode: Mode
    rate: int
    protocol: Protocol
    clients: int

    @property
    def server(self) -> str:
        return f"{self.case.side}-{self.mode}"

    @property
    def words(self) -> str:
        what = f"{self.server}, {self.case.model}, {rate_title(self.rate)}"
        return f"round {self.round}: {what}, {self.protocol} {self.clients}"


def order(sides: Sequence[Side], protocols: Sequence[Protocol], clients: Sequence[int], rounds: int) -> Iterator[Cell]:
    """All rates of one server within seconds of each other, every second round the other way round."""
    wanted = [
        (case, protocol, count)
        for case, its_protocols in TRACED
        for protocol in its_protocols
        for count in clients
        if protocol in protocols and case.side in sides and (case.model in ALONE or "rival" in sides)
    ]
    for number in range(1, rounds + 1):
        for case, protocol, count in wanted:
            cells = [Cell(number, case, mode, rate, protocol, count) for mode in MODES for rate in (0, *RATES)]
            yield from cells if number % 2 else reversed(cells)


def arguments(mode: Mode, folder: Path, url: str) -> str:
    """Of a server of either side: it traces nothing until it is told to."""
    if mode == "triton":
        options = ["mode=triton", f"triton,file={folder / 'trace.json'}", f"triton,log-frequency={LOG_FREQUENCY}"]
    else:
        options = ["mode=opentelemetry", *(f"opentelemetry,{option}" for option in (f"url={url}", *EXPORT))]
    return " ".join(f"--trace-config={option}" for option in (*options, "level=OFF"))


def setting(rate: int) -> bytes:
    """The body of a POST to /v2/trace/setting."""
    values = {"trace_level": ["TIMESTAMPS"], "trace_rate": str(rate)} if rate else {"trace_level": ["OFF"]}
    return json.dumps(values).encode()


def lay_out(side: Side, target: Path) -> Path:
    """The models of one side, in a fresh repository."""
    shutil.rmtree(target, ignore_errors=True)
    folders = [PYTHON_MODEL] if side == "rival" else [PYTHON_MODEL, SMALL_MODEL]
    for folder in folders:
        shutil.copytree(folder, target / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@contextlib.contextmanager
def tracing_servers(
    commands: Mapping[Side, str], first_port: int, scratch: Path, session: Session, receiver: RunningReceiver
) -> Iterator[dict[str, RunningServer]]:
    """One for each side and mode: a mode is chosen at the start, a rate while it runs. Those that do not start are
    failures, and the others are measured without them.
    """
    with contextlib.ExitStack() as stack:
        servers: dict[str, RunningServer] = {}
        for side, command in commands.items():
            for mode in MODES:
                name = f"{side}-{mode}"
                progress(f"starting {name}")
                folder = traces_of(name, scratch)
                folder.mkdir()
                repository = lay_out(side, scratch / name)
                full = f"{command} {arguments(mode, folder, receiver.url)}"
                port = first_port + 3 * len(servers)
                log = session.output / f"{name}.log"
                try:
                    servers[name] = stack.enter_context(serving(side, full, repository, port, log))
                except ServerError as error:
                    session.failures.append(str(error))
        yield servers


def traces_of(name: str, scratch: Path) -> Path:
    """The folder of a server's trace files."""
    return scratch / f"traces-{name}"


class TracingBench:
    """The servers that trace. Only the one that is measured does."""

    def __init__(
        self,
        servers: Mapping[str, RunningServer],
        load: LoadGenerator,
        seconds: float,
        receiver: RunningReceiver,
        scratch: Path,
    ) -> None:
        self._servers = dict(servers)
        self._load = load
        self._seconds = seconds
        self._receiver = receiver
        self._scratch = scratch
        self._benches = self._new_benches()

    def _new_benches(self) -> dict[str, ServerBench]:
        return {
            name: ServerBench(name, self._servers, self._load, self._seconds, [self._receiver.pid])
            for name in self._servers
        }

    def leave_out_ended(self) -> None:
        """Servers that have ended are neither asked nor counted any more."""
        running = {name: one for name, one in self._servers.items() if one.process.poll() is None}
        if running != self._servers:
            self._servers = running
            self._benches = self._new_benches()

    def has_server(self, cell: Cell) -> bool:
        """Whether its server runs, as far as is known."""
        return cell.server in self._servers

    def observe(self, cell: Cell) -> Observation:
        """Raises LoadError, also where a request failed, or where traces that should have been made never came."""
        bench = self._benches[cell.server]
        control = Control(bench.server.http_port)
        folder = traces_of(cell.server, self._scratch)
        condition = Condition("tracing", rate_title(cell.rate), OFF if cell.rate else "")
        subject = f"{TITLES[cell.case.side]}, {cell.case.model}, mode {cell.mode}"
        before = self._receiver.counts()
        _set(control, cell.rate)
        try:
            found = observe(bench, cell.round, condition, cell.case, (), subject, cell.protocol, cell.clients)
        except LoadError:
            with contextlib.suppress(LoadError):  # what went wrong first is what counts
                _set(control, 0)
            raise
        _set(control, 0)
        if not cell.rate:
            return found
        time.sleep(EXPORT_SECONDS)
        left = _emptied(folder) if cell.mode == "triton" else self._receiver.counts().since(before).spans
        traced = found.sample.requests / cell.rate
        if not left and traced > 2 * LOG_FREQUENCY:
            raise LoadError(f"{cell.server} left no traces of {traced:,.0f} requests: see its log")
        return replace(found, left=left / traced if left else None)


def _set(control: Control, rate: int) -> None:
    try:
        control.post("/v2/trace/setting", setting(rate))
    except ControlError as error:
        raise LoadError(f"the traces could not be set: {error}") from error


def _emptied(folder: Path) -> int:
    """How many bytes of traces there were; the files are taken away."""
    total = 0
    for file in folder.iterdir():
        total += file.stat().st_size
        file.unlink()
    return total
