"""Starts the two servers for the length of the benchmark, waits until they are ready, and ends them."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu_time import tree_seconds
from benchmarks.plan import Case, Protocol, Side

HERE = Path(__file__).parent

ATOLL = f"{shlex.quote(sys.executable)} -m atoll serve"
RIVAL = shlex.quote(str(HERE / "real-triton"))

READY_SECONDS = 120.0
LOOK_SECONDS = 0.1
STOP_SECONDS = 30.0


class ServerError(RuntimeError):
    """A server could not be started or went away; the message is for the person at the terminal."""


@dataclass(frozen=True)
class RunningServer:
    """One server on this machine, in a session of its own, with the two ports that carry inference.

    Its metrics are on the port behind these.
    """

    side: Side
    process: "subprocess.Popen[bytes]"
    http_port: int
    grpc_port: int

    def port(self, protocol: Protocol) -> int:
        return self.http_port if protocol == "http" else self.grpc_port

    @property
    def metrics_port(self) -> int:
        return self.grpc_port + 1

    def cpu_seconds(self) -> float:
        """Processor seconds used so far by the server and its child processes."""
        if self.process.poll() is not None:
            raise ServerError(f"the {self.side} server has ended with status {self.process.returncode}")
        return tree_seconds(self.process.pid)


def make_onnx_files(directory: Path) -> None:
    """Generates the ONNX files in `directory`, unless the same version of the generator already did."""
    generator = (HERE / "make_models.py").read_text()
    made_by = directory / "made_by.py"
    if made_by.exists() and made_by.read_text() == generator:
        return
    command = [sys.executable, "-m", "benchmarks.make_models", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent, check=False)
    if done.returncode:
        raise ServerError(f"the benchmark's models could not be generated (the package onnx is needed):\n{done.stderr}")
    made_by.write_text(generator)


def lay_out_repository(
    side: Side, cases: Iterable[Case], onnx_files: Path, parameters: Mapping[str, str], target: Path
) -> Path:
    """A fresh model repository in `target`: the committed configurations, `parameters` added, and the models' files."""
    shutil.rmtree(target, ignore_errors=True)
    for case in cases:
        shutil.copytree(HERE / "repositories" / side / case.model, target / case.model)
        if side == "atoll":
            with (target / case.model / "config.pbtxt").open("a") as config:
                config.writelines(parameter_lines(parameters))
            version = target / case.model / "1"
            version.mkdir()
            (version / "model.onnx").hardlink_to(onnx_files / f"{case.model}.onnx")
    return target


def parameter_lines(parameters: Mapping[str, str]) -> list[str]:
    """Model parameters as config.pbtxt writes them; a JSON string is a string there too."""
    return [
        f"parameters {{ key: {json.dumps(key)} value {{ string_value: {json.dumps(value)} }} }}\n"
        for key, value in parameters.items()
    ]


@contextlib.contextmanager
def serving(
    side: Side,
    command: str,
    repository: Path,
    first_port: int,
    log: Path,
    *,
    ready_seconds: float = READY_SECONDS,
    look_seconds: float = LOOK_SECONDS,
) -> Iterator[RunningServer]:
    """Runs `command` with the options that both servers share, on three ports from `first_port`, until the block ends.

    `look_seconds`: how often it is asked whether it is ready.

    Raises:
        ServerError: the server ended, or was not ready within `ready_seconds`; the end of its log is in the message.
    """
    http_port, grpc_port, metrics_port = range(first_port, first_port + 3)
    refuse_taken_ports(first_port, metrics_port)
    options = [f"--model-repository={repository}", f"--http-port={http_port}", f"--grpc-port={grpc_port}"]
    options.append(f"--metrics-port={metrics_port}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*shlex.split(command), *options],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    server = RunningServer(side, process, http_port, grpc_port)
    try:
        _wait_until_ready(server, command, log, ready_seconds, look_seconds)
        yield server
    finally:
        _stop(process)


def _wait_until_ready(
    server: RunningServer, command: str, log: Path, ready_seconds: float, look_seconds: float
) -> None:
    deadline = time.monotonic() + ready_seconds
    while not _is_ready(server.http_port):
        ended = server.process.poll() is not None
        if ended or time.monotonic() > deadline:
            what = (
                f"ended with status {server.process.returncode}" if ended else f"was not ready in {ready_seconds:g} s"
            )
            end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise ServerError(f"`{command}` {what}. The end of its log, {log}:\n{end}")
        time.sleep(look_seconds)


def refuse_taken_ports(first: int, last: int) -> None:
    """Whoever answers on a port would be taken for the server that is about to start. Raises ServerError."""
    for port in range(first, last + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError as error:
                raise ServerError(f"port {port} cannot be had ({error}); choose free ones with --port") from error


def _is_ready(http_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/v2/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # The process group is the server's own (start_new_session), so this reaches it and its children only.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
