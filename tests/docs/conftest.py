"""An empty environment with nothing but the wheel in it, and servers started from there."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import pytest

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 120


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """The finished process; its output is in the failure, should it fail."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that scripts/wheel builds."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [str(ROOT / "scripts" / "wheel"), sys.executable, str(folder)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    wheels = sorted(folder.glob("atoll-*.whl"))
    if done.returncode != 0 or not wheels:
        text = f"scripts/wheel built none here: {done.stdout}\n{done.stderr}"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)
    assert len(wheels) == 1
    return wheels[0]


@pytest.fixture(scope="session")
def empty_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a virtual environment in which only the wheel with its CPU set was installed, and Triton's client."""
    home = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", str(home)])
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "-c", str(ROOT / "constraints.txt"), f"{wheel}[all]", "tritonclient[grpc]"])
    return home / "bin"


@dataclass
class Running:
    """A server, where it listens, and what it has logged so far."""

    process: subprocess.Popen[str]
    http: int
    grpc: int
    metrics: int
    log: list[str]


ADDRESS = re.compile(r"Started (GRPCInferenceService|HTTPService|Metrics Service) at [^ ]*:(\d+)")
PORTS = ["--http-port=0", "--grpc-port=0", "--metrics-port=0"]

Serve = Callable[[list[str]], Running]


@pytest.fixture
def serve(empty_environment: Path) -> Iterator[Serve]:
    """Starts the installed `atoll serve` with these arguments, on ports that the system chooses."""
    started: list[Running] = []

    def start(arguments: list[str]) -> Running:
        command = [str(empty_environment / "atoll"), "serve", *arguments, *PORTS]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        log: list[str] = []
        lines: Queue[str] = Queue()

        def read() -> None:
            for line in process.stderr or ():
                log.append(line)
                lines.put(line)
            lines.put("")

        threading.Thread(target=read, daemon=True).start()
        ports: dict[str, int] = {}
        while len(ports) < 3:
            line = lines.get(timeout=START_TIMEOUT_S)
            assert line, f"the server ended:\n{''.join(log)}"
            match = ADDRESS.search(line)
            if match:
                ports[match[1]] = int(match[2])
        running = Running(process, ports["HTTPService"], ports["GRPCInferenceService"], ports["Metrics Service"], log)
        started.append(running)
        return running

    yield start
    for running in started:
        running.process.terminate()
        assert running.process.wait(60) == 0, "".join(running.log)
        if running.process.stderr:
            running.process.stderr.close()
