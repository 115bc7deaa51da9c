"""Starting, refusing and ending servers, with small programs in a server's place; the bare loop on a small model."""

import shlex
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks import make_models
from benchmarks.bare_loop import BareLoopError, session_seconds
from benchmarks.servers import HERE, RunningServer, ServerError, serving
from benchmarks.statistics_document import Counts, read_counts, read_parameters

# Ready at once; answers the two documents that the benchmark reads; uses no port but the one it is told.
STAND_IN = """
import http.server, json, sys

port = next(int(word.split("=")[1]) for word in sys.argv if word.startswith("--http-port="))
batch = {"batch_size": 2, "compute_infer": {"count": 3}}
stats = {"model_stats": [{"inference_stats": {"success": {"count": 6}}, "batch_stats": [batch]}]}
documents = {
    "/v2/health/ready": {},
    "/v2/models/simple/stats": stats,
    "/v2/models/simple/config": {"parameters": {"intra_op_thread_count": {"string_value": "1"}}},
}


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        document = documents.get(self.path)
        self.send_response(404 if document is None else 200)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())


http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


def three_free_ports() -> int:
    """The first of three in a row; kept free by nobody, so a test that is beaten to them fails and does not hang."""
    for first in range(9270, 9297, 3):
        try:
            for port in range(first, first + 3):
                with socket.socket() as probe:
                    probe.bind(("0.0.0.0", port))
        except OSError:
            continue
        return first
    pytest.fail("no three free ports from 9270 to 9299")


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[RunningServer]:
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)
    command = shlex.join([sys.executable, str(program)])
    with serving("atoll", command, tmp_path, three_free_ports(), tmp_path / "log") as server:
        yield server


def test_a_server_is_ready_says_what_it_did_and_is_gone_afterwards(stand_in: RunningServer) -> None:
    assert read_counts(stand_in.http_port, "simple") == Counts(succeeded=6, failed=0, executions={2: 3})
    assert read_parameters(stand_in.http_port, "simple") == {"intra_op_thread_count": "1"}
    assert stand_in.port("http") == stand_in.http_port
    assert stand_in.port("grpc") == stand_in.http_port + 1
    assert stand_in.cpu_seconds() > 0


def test_a_server_is_ended_with_the_block(tmp_path: Path) -> None:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    command = shlex.join([sys.executable, str(tmp_path / "stand_in.py")])
    with serving("atoll", command, tmp_path, three_free_ports(), tmp_path / "log") as server:
        assert server.process.poll() is None
    assert server.process.poll() is not None
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/v2/health/ready", timeout=5)
    with pytest.raises(ServerError, match="atoll server has ended"):
        server.cpu_seconds()


def test_a_server_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    command = shlex.join([sys.executable, "-c", "import sys; sys.exit('the model is broken')"])
    refused = pytest.raises(ServerError, match=r"(?s)ended with status 1.*the model is broken")
    with refused, serving("atoll", command, tmp_path, three_free_ports(), tmp_path / "log"):
        pytest.fail("nothing was started")


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = pytest.raises(ServerError, match=f"port {port} cannot be had.*--port")
        with refused, serving("atoll", "false", tmp_path, port, tmp_path / "log"):
            pytest.fail("nothing was to be started")
    assert not (tmp_path / "log").exists()


def test_bare_loop_runs_the_sizes_that_it_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    make_models.simple(tmp_path / "simple.onnx")
    parameters = {"intra_op_thread_count": "1", "session.intra_op.allow_spinning": "0", "of another program": "x"}
    seconds = session_seconds(tmp_path / "simple.onnx", [1, 32], parameters, None, budget=0.02)
    assert seconds.keys() == {1, 32}
    assert all(value > 0 for value in seconds.values())


def test_bare_loop_that_cannot_run_says_why(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(BareLoopError, match="broken"):
        session_seconds(tmp_path / "broken.onnx", [1], {}, None, budget=0.01)


@pytest.mark.parametrize("script", ["real-triton", "perf-analyzer"])
def test_another_platform_is_told_what_is_needed(script: str, tmp_path: Path) -> None:
    uname = tmp_path / "bin" / "uname"
    uname.parent.mkdir()
    uname.write_text('#!/bin/sh\n[ "$1" = -s ] && echo Darwin || echo arm64\n')
    uname.chmod(0o755)
    environment = {"PATH": f"{uname.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([HERE / script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert "x86-64 Linux only; this is Darwin on arm64" in done.stderr
    assert not (tmp_path / ".cache").exists()


@pytest.mark.parametrize("script", ["real-triton", "perf-analyzer"])
def test_without_a_network_it_is_told_what_is_needed(script: str, tmp_path: Path) -> None:
    """A pip that finds nothing stands for the network that is not there."""
    python = tmp_path / "bin" / "python3"
    python.parent.mkdir()
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "  *version_info*) echo 3.11 ;;\n"
        "  *Py_ENABLE_SHARED*) echo 1 ;;\n"
        '  *"-m venv"*) mkdir -p "$3/bin" && printf "#!/bin/sh\\nexit 1\\n" >"$3/bin/pip" && chmod +x "$3/bin/pip" ;;\n'
        "  *) exit 1 ;;\n"
        "esac\n"
    )
    python.chmod(0o755)
    uname = tmp_path / "bin" / "uname"
    uname.write_text('#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo x86_64\n')
    uname.chmod(0o755)
    environment = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([HERE / script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert "a network path to PyPI" in done.stderr
    assert not (tmp_path / ".cache" / "perf-analyzer").exists()
    assert not (tmp_path / ".cache" / "triton-oracle" / "ready").exists()
