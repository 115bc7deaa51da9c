"""All that is asked about Python models: scenarios by name, and a server that takes them one after the other."""

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from tests.conformance.process import ServerProcess
from tests.conformance.python_models import broken_steps, sequence_steps, served_steps, shape_steps
from tests.conformance.python_models.broken_models import write_broken_models
from tests.conformance.python_models.steps import AnyStep, Session, take

MODELS = Path(__file__).parent / "models"
_ENDS_S = 5.0
THREAD = 'parameters { key: "isolation" value { string_value: "thread" } }\n'
OPTIONS = ("--model-control-mode=explicit", "--exit-timeout-secs=5")


def scenarios() -> dict[str, list[AnyStep]]:
    """The steps of each scenario; each loads what it needs."""
    found: dict[str, list[AnyStep]] = {}
    for several in (served_steps.steps(), sequence_steps.steps(), broken_steps.steps(), shape_steps.steps()):
        assert not set(found) & set(several)
        found |= several
    return found


def write_models(root: Path, *, threads: bool = False) -> Path:
    """Every model, the broken ones too, to be run in threads of the server if wanted; returns `root`."""
    shutil.copytree(MODELS, root, ignore=shutil.ignore_patterns("__pycache__"))
    write_broken_models(root)
    for config in root.glob("*/config.pbtxt") if threads else ():
        config.write_text(config.read_text() + THREAD)
    return root


class Examination:
    """Takes scenarios with one server, and with a new one where that has ended. A context manager."""

    def __init__(self, start: Callable[[Path, Path], ServerProcess], folder: Path, *, threads: bool = False) -> None:
        self._start, self._folder = start, folder
        self._repository = write_models(folder / "models", threads=threads)
        self._server: ServerProcess | None = None
        self._starts = 0

    def take(self, steps: Iterable[AnyStep]) -> dict[str, Any]:
        """The answers by step. A server that ends meanwhile answers nothing any more."""
        server = self._running()
        answers: dict[str, Any] = {}
        with grpc.insecure_channel(server.grpc) as channel:
            session = Session(server, channel, self._repository)
            for step in steps:
                assert step.name not in answers, f"two steps are called {step.name}"
                try:
                    answers[step.name] = take(session, step)
                except ConnectionError:
                    answers[step.name] = {"status": "UNAVAILABLE"}
                if _went(answers[step.name]) and self._ends():
                    break
        return answers

    def _ends(self) -> bool:
        deadline = time.monotonic() + _ENDS_S
        while not self.ended and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.ended

    @property
    def ended(self) -> bool:
        """Whether the server of the last scenario has ended by itself."""
        return self._server is not None and self._server.process.poll() is not None

    def log_text(self) -> str:
        return "" if self._server is None else self._server.log_text()

    def renew(self) -> None:
        """The next scenario gets another server."""
        if self._server is not None:
            self._server.__exit__(None, None, None)
            self._server = None

    def _running(self) -> ServerProcess:
        if self.ended:
            self.renew()
        if self._server is None:
            self._starts += 1
            self._server = self._start(self._repository, self._folder / f"log{self._starts}").__enter__()
        return self._server

    def __enter__(self) -> "Examination":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.renew()


def _went(answer: Any) -> bool:
    """Whether an answer looks like that of a server that has just ended."""
    return isinstance(answer, dict) and answer.get("status") in ("UNAVAILABLE", 0)
