"""A real Prometheus: Debian's package, unpacked where it is not installed, and servers of it for tests to ask."""

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.conformance.process import HOST, free_ports

PACKAGE = "prometheus"
UNPACK_S = 600
START_S = 60

Series = dict[str, Any]
"""Of the HTTP API: `metric`, its labels, and `value` or `values`: pairs of a moment and a text."""


@dataclass(frozen=True)
class Programs:
    """The two that the package holds."""

    prometheus: str
    promtool: str

    def check(self, *arguments: str, folder: Path | None = None) -> str:
        """What promtool prints; fails with it where promtool finds something wrong."""
        done = subprocess.run(
            [self.promtool, *arguments], capture_output=True, text=True, timeout=120, cwd=folder, check=False
        )
        assert done.returncode == 0, f"promtool {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def find_programs(folder: Path) -> Programs | str:
    """Those that are installed, else those of the package, unpacked into `folder`; or why there are none.

    Unpacked and not installed: the package would start a server on port 9090, and again at each boot.
    """
    prometheus, promtool = shutil.which("prometheus"), shutil.which("promtool")
    if prometheus and promtool:
        return Programs(prometheus, promtool)
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "there is no Prometheus, and getting it takes apt"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=UNPACK_S, check=False
        )

    try:
        done = run("apt-get", "-qq", "download", PACKAGE)
        if done.returncode != 0 and os.geteuid() == 0:  # it may be that there are no lists of packages yet
            run("apt-get", "-qq", "update")
            done = run("apt-get", "-qq", "download", PACKAGE)
        archives = sorted(folder.glob(f"{PACKAGE}_*.deb"))
        if not archives:
            return f"apt-get could not download {PACKAGE}: {done.stderr.strip()[-500:]}"
        done = run("dpkg-deb", "-x", archives[0].name, "unpacked")
    except subprocess.TimeoutExpired:
        return f"unpacking {PACKAGE} took more than {UNPACK_S} s"
    programs = folder / "unpacked" / "usr" / "bin"
    if not (programs / "prometheus").exists():
        return f"{archives[0].name} could not be unpacked: {done.stderr.strip()[-500:]}"
    return Programs(str(programs / "prometheus"), str(programs / "promtool"))


class PrometheusServer:
    """One with a folder and a port of its own. A context manager: leaving it stops the process."""

    def __init__(self, programs: Programs, config: Path, folder: Path):
        folder.mkdir()
        self.port = free_ports(1)[0]
        self._log = folder / "log"
        command = [
            programs.prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--log.level=warn",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        try:
            self.wait(self._ready, "readiness")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait(self, reached: Callable[[], object], what: str, timeout_s: float = START_S) -> None:
        """Poll; fails with the log where it is not reached, or the server has ended."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no {what}: {self._log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)

    def wait_for_scrapes(self, job: str, count: int) -> None:
        """Until every target of the job was scraped so many times more."""
        begin = self._scrapes(job)
        self.wait(lambda: self._scrapes(job) >= begin + count, f"{count} scrapes of {job}")

    def _scrapes(self, job: str) -> float:
        found = self.query(f'min(count_over_time(up{{job="{job}"}}[1h]))')
        return float(found[0]["value"][1]) if found else 0

    # ---- the HTTP API

    def ask(self, path: str, **parameters: str | Sequence[str]) -> Any:
        """The `data` of an answer of the API; fails with the error's text where it is one."""
        body = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/api/v1/{path}?{body}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode(errors='replace')}") from None

    def query(self, expression: str) -> list[Series]:
        """The series of an instant vector; a number or text is one without labels."""
        data = self.ask("query", query=expression)
        return data["result"] if data["resultType"] != "scalar" else [{"metric": {}, "value": data["result"]}]

    def query_range(self, expression: str, start: float, end: float, step_s: float) -> list[Series]:
        found: list[Series] = self.ask(
            "query_range", query=expression, start=str(start), end=str(end), step=str(step_s)
        )["result"]
        return found

    def targets(self, job: str) -> list[dict[str, Any]]:
        """The active targets of a job: `health`, `lastError`, `labels`, ..."""
        return [one for one in self.ask("targets")["activeTargets"] if one["labels"]["job"] == job]
