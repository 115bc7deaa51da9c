"""Drives one model on one server with a load generator and says what the client saw."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Protocol as Interface

from benchmarks.bodies import grpc_message, http_request, perf_analyzer_data
from benchmarks.plan import Case, Protocol
from benchmarks.readings import Reading, completion_rate, parse_h2load, parse_perf_analyzer, parse_profile, parse_wrk

HERE = Path(__file__).parent

# perf_analyzer's own number of windows before it may call a measurement stable; the three are merged into one result.
WINDOWS = 3
# perf_analyzer gives up on a window in which no request was completed.
SHORTEST_WINDOW_MS = 500


class LoadError(RuntimeError):
    """A load generator could not be had, or did not do its work; the message is for the person at the terminal."""


class LoadGenerator(Interface):
    """What the runner needs of a load generator."""

    def cut_off(self, protocol: Protocol, concurrency: int) -> int:
        """How many requests it may abandon when its time is up, which the server then counts as failed."""

    def prepare(self) -> None:
        """Makes sure that the generator can run. Raises LoadError saying what is missing."""

    def drive(self, case: Case, protocol: Protocol, port: int, concurrency: int, seconds: float) -> Reading:
        """Keeps `concurrency` requests outstanding for about `seconds`. Raises LoadError."""


def _run(command: list[str], seconds: float, directory: Path) -> str:
    name = Path(command[0]).name
    # A request may take long (a batch of large pictures), and start and end come on top.
    limit = 3 * seconds + 60
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, cwd=directory, check=False)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{name} did not end within {limit:g} s ({' '.join(command)})") from error
    if done.returncode:
        # The reason comes first in the one and last in the other; between them lie pages of usage.
        reason = done.stderr.strip().splitlines()[:2] + done.stdout.strip().splitlines()[-2:]
        raise LoadError("\n".join([f"{name} ended with status {done.returncode} ({' '.join(command)}):", *reason]))
    return done.stdout


class PerfAnalyzer:
    """NVIDIA's perf_analyzer, synchronous mode: one thread for each request outstanding, binary tensors on HTTP."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._script = str(HERE / "perf-analyzer")

    def cut_off(self, protocol: Protocol, concurrency: int) -> int:
        return 0

    def prepare(self) -> None:
        done = subprocess.run([self._script, "--unpack-only"], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise LoadError(f"{done.stderr}Or measure with wrk and h2load instead: --load wrk")

    def drive(self, case: Case, protocol: Protocol, port: int, concurrency: int, seconds: float) -> Reading:
        report = self._directory / "report.csv"
        report.unlink(missing_ok=True)
        command = [self._script, "-m", case.model, "-u", f"127.0.0.1:{port}", "-i", protocol, "-b", "1"]
        command += ["--concurrency-range", str(concurrency), "--input-data", self._data(case), "-f", str(report)]
        if case.streaming:
            command.append("--streaming")
        if case.sequence_length:
            command += ["--sequence-length", str(case.sequence_length), "--serial-sequences"]
        if case.shared_output_bytes:
            command += ["--shared-memory", "system"]
            command += ["--output-shared-memory-size", str(case.shared_output_bytes)]
        # A generous stability bound: the runner takes medians over rounds, and wants three windows, never a retry.
        command += [
            "-p",
            str(max(round(seconds * 1000 / WINDOWS), SHORTEST_WINDOW_MS)),
            "-r",
            str(WINDOWS),
            "-s",
            "9999",
        ]
        profile = self._directory / "profile.json"
        if case.slow:
            profile.unlink(missing_ok=True)  # perf_analyzer refuses to overwrite one
            command += ["--profile-export-file", str(profile)]
        _run(command, seconds, self._directory)
        try:
            reading = parse_perf_analyzer(report.read_text())
            if case.slow:
                rate = completion_rate(parse_profile(profile.read_text())) * 1e9
                reading = replace(reading, throughput=rate)
        except (OSError, ValueError) as error:
            raise LoadError(f"perf_analyzer left no usable report ({' '.join(command)}): {error}") from error
        return reading

    def _data(self, case: Case) -> str:
        if case.vocabulary is None:
            return "random"
        document = self._directory / f"{case.model}.json"
        if not document.exists():
            document.write_text(perf_analyzer_data(case))
        return str(document)


_JSON_LENGTH = "Inference-Header-Content-Length"
_SEQUENCES = """
local count = 0
local before, after = wrk.body:sub(1, %(json)d):match('^(.*)("binary_data_output".*)$')
local data = wrk.body:sub(%(json)d + 1)
function request()
  local starts = tostring(count <= %(sequences)d) -- wrk asks for one request that it does not send
  local said = '"sequence_id":' .. count %% %(sequences)d + 1 .. ',"sequence_start":' .. starts .. ','
  count = count + 1
  wrk.headers["Inference-Header-Content-Length"] = #before + #said + #after
  return wrk.format(nil, nil, nil, before .. said .. after .. data)
end"""  # as many live sequences as connections; each is started once


class WrkAndH2load:
    """wrk for HTTP and h2load for gRPC: one connection for each request outstanding, and little work for the client."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def cut_off(self, protocol: Protocol, concurrency: int) -> int:
        # Both close their connections in the middle of whatever is outstanding.
        return concurrency

    def prepare(self) -> None:
        missing = [tool for tool in ("wrk", "h2load") if shutil.which(tool) is None]
        if missing:
            raise LoadError(f"not on PATH: {', '.join(missing)}. On Debian: apt-get install wrk nghttp2-client")

    def drive(self, case: Case, protocol: Protocol, port: int, concurrency: int, seconds: float) -> Reading:
        if case.shared_output_bytes:
            raise LoadError("wrk and h2load share no memory: only perf_analyzer does")
        drive = self._wrk if protocol == "http" else self._h2load
        try:
            return drive(case, port, concurrency, seconds)
        except ValueError as error:
            raise LoadError(f"{case.model} over {protocol} at {concurrency}: {error}") from error

    def _wrk(self, case: Case, port: int, concurrency: int, seconds: float) -> Reading:
        headers, body = http_request(case)
        data, script = (self._directory / f"{case.model}.http", self._directory / f"{case.model}.lua")
        data.write_bytes(body)
        # JSON's string literals are Lua's as well for such names and paths.
        lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
        opened = f'local file = assert(io.open({json.dumps(str(data))}, "rb"))'
        lines = ['wrk.method = "POST"', opened, 'wrk.body = file:read("*a")', *lines]
        if case.sequence_length:
            lines.append(_SEQUENCES % {"sequences": concurrency, "json": int(headers[_JSON_LENGTH])})
        script.write_text("\n".join(lines) + "\n")
        url = f"http://127.0.0.1:{port}/v2/models/{case.model}/infer"
        threads = "1" if case.sequence_length else self._threads(concurrency)  # which numbers the sequences
        command = ["wrk", "--latency", "-t", threads, "-c", str(concurrency)]
        command += ["-d", f"{max(round(seconds), 1)}s", "--timeout", "30s", "-s", str(script), url]
        return parse_wrk(_run(command, seconds, self._directory))

    def _h2load(self, case: Case, port: int, concurrency: int, seconds: float) -> Reading:
        if case.sequence_length:
            raise LoadError("h2load sends one request again and again, and so no sequences")
        data, log = (self._directory / f"{case.model}.grpc", self._directory / "h2load.log")
        data.write_bytes(grpc_message(case))
        log.unlink(missing_ok=True)
        url = f"http://127.0.0.1:{port}/inference.GRPCInferenceService/ModelInfer"
        command = ["h2load", "-t", self._threads(concurrency), "-c", str(concurrency), "-m", "1", "-d", str(data)]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", "--log-file", str(log)]
        command += ["-D", str(max(round(seconds), 1)), url]
        _run(command, seconds, self._directory)
        with log.open() as lines:
            return parse_h2load(lines)

    @staticmethod
    def _threads(concurrency: int) -> str:
        return str(min(concurrency, os.cpu_count() or 1))
