"""What `atoll trace` prints, and how it ends, for files of all kinds."""

import errno
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atoll
from atoll.cli import trace_command
from atoll.cli.main import main

RECORDED = Path(__file__).parents[1] / "observability" / "timeline" / "recorded"
ENSEMBLE, DECOUPLED = str(RECORDED / "ensemble.json"), str(RECORDED / "decoupled.json")


def request(id: int, ns: int = 1000, model: str = "m", **rest: Any) -> list[dict[str, Any]]:
    moments = [("REQUEST_START", 1000), ("QUEUE_START", 1000), ("REQUEST_END", 1000 + ns)]
    return [
        {"id": id, "model_name": model, "model_version": 1, **rest},
        *({"id": id, "timestamps": [{"name": name, "ns": at}]} for name, at in moments),
    ]


def write(path: Path, *requests: list[dict[str, Any]]) -> str:
    path.write_text(json.dumps([entry for one in requests for entry in one]))
    return str(path)


def heads(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("trace ")]


def test_a_file_of_the_real_servers_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", ENSEMBLE]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("trace 6 · steps version 1 · request id whole · 3 requests made for it")
    assert max(map(len, out.splitlines())) == 100
    assert "\x1b" not in out
    assert err == ""


def test_traces_are_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "t", request(1, 5), request(2, 9, "n", request_id="x"), request(3, 7), request(4, 2))
    for arguments, expected in (
        ([], "1234"),
        (["--limit=2"], "12"),
        (["--slowest=2"], "23"),
        (["--model=m", "--slowest=9"], "314"),
        (["--model=n", "--model=m", "--limit=0"], "1234"),
        (["--id=3", "--id=4"], "34"),
        (["--request-id=x"], "2"),
    ):
        assert main(["trace", file, *arguments]) == 0
        assert "".join(heads(capsys)) == expected


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "t", *map(request, range(1, trace_command.DEFAULT_LIMIT + 3)))
    assert main(["trace", file]) == 0
    out, err = capsys.readouterr()
    assert out.count("trace ") == trace_command.DEFAULT_LIMIT
    assert err == "2 more traces are left out: --limit=0 shows all of them\n"
    assert main(["trace", file, "--model=other"]) == 1
    assert capsys.readouterr() == ("", "none of the 22 traces is as asked for\n")


def test_indexed_files_are_read_in_their_order_where_there_is_none_of_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (0, 2, 10):
        write(tmp_path / f"t.json.{number}", request(number + 1))
    write(tmp_path / "t.json.old", request(99))
    assert main(["trace", str(tmp_path / "t.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(":")] == [f"{tmp_path}/t.json.{number}:" for number in (0, 2, 10)]
    write(tmp_path / "t.json", request(50))
    assert main(["trace", str(tmp_path / "t.json")]) == 0
    assert heads(capsys) == ["50"]


def test_the_summary_is_a_table_or_documents(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", ENSEMBLE, DECOUPLED, "--summary"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["calls", "version", "1", "count", "mean", "p50", "p95", "p99"]
    assert max(map(len, lines)) <= 100
    assert main(["trace", ENSEMBLE, "--summary", "--json"]) == 0
    calls, echo, steps = map(json.loads, capsys.readouterr().out.splitlines())
    assert [one["model"] for one in (calls, echo, steps)] == ["calls", "echo", "steps"]
    assert echo["stages"]["queue"] == {
        "count": 2,
        "mean_ns": 36218,
        "p50_ns": 30775,
        "p95_ns": 41662,
        "p99_ns": 41662,
    }


def test_documents_have_all_facts_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", ENSEMBLE, DECOUPLED, "--json"]) == 0
    ensemble, decoupled = map(json.loads, capsys.readouterr().out.splitlines())
    assert (ensemble["file"], ensemble["id"], decoupled["id"]) == (ENSEMBLE, 6, 17)
    assert [(one["depth"], one["id"], one.get("parent_id")) for one in ensemble["requests"]] == [
        *((0, 6, None), (1, 7, 6), (1, 8, 6), (2, 9, 8))
    ]
    assert ensemble["requests"][1]["stages"][0] == {"name": "queue", "start_ns": 58569189157052, "duration_ns": 30775}


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (None, 2, "No such file or directory"),
        (b"", 2, "no trace is in it"),
        (b"[]", 2, "no trace is in it"),
        (b'{"resourceSpans":[]}', 2, "no trace is in it"),
        (b"name: x", 2, "line 1, column 1: expected '['"),
        (b'[{"id":', 2, "the file ends here, in the middle. No trace stands before that"),
        (b'[{"id":1,"timestamps":[{"name":"REQUEST_START","ns":5}]},{"id":2', 1, "What stands before that is shown"),
        (b'[{"id":1,"timestamps":[{"name":"REQUEST_START","ns":5}]},\n oops', 1, "line 2, column 2: Expecting value"),
        (b'[{"id":1,"timestamps":[{"name":"A","ns":5}]},{"id":-1}]', 0, "1 entries and 0 moments in it are none"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    content: bytes | None, status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t\x1b[31m"
    if content is not None:
        path.write_bytes(content)
    assert main(["trace", str(path)]) == status
    out, err = capsys.readouterr()
    assert said in err
    assert "\x1b" not in out + err
    assert ("trace 1" in out) is (status < 2)


def test_one_file_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", str(tmp_path), ENSEMBLE]) == 2
    out, err = capsys.readouterr()
    assert "trace 6" in out
    assert err == f"error: {tmp_path}: {os.strerror(errno.EISDIR)}\n"


def test_standard_input_is_read(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(ENSEMBLE).read_bytes()[:-2])))
    assert main(["trace", "-", "--width=60"]) == 1
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) == 60
    assert err.startswith("error: standard input: line 1, column ")


@pytest.mark.parametrize("argument", ["--width=39", "--slowest=0", "--id=x", "--limit=-1", "--id=²"])
def test_what_no_option_can_mean_is_refused(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["trace", ENSEMBLE, argument])
    assert ended.value.code == 2
    assert "is not a whole number" in capsys.readouterr().err


def on_a_terminal(columns: int, **environment: str) -> str:
    """What the command prints on a terminal so wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
    command = [sys.executable, "-m", "atoll", "trace", ENSEMBLE]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, env={**kept, "PYTHONIOENCODING": "utf-8", "TERM": "xterm", **environment}
    )
    os.close(theirs)
    printed = b""
    try:
        while piece := os.read(ours, 65536):
            printed += piece
    except OSError as error:
        assert error.errno == errno.EIO  # nobody has the terminal any more
    os.close(ours)
    assert process.wait() == 0
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_on_a_terminal_it_is_as_wide_as_that_and_coloured() -> None:
    coloured, plain = on_a_terminal(72), on_a_terminal(72, NO_COLOR="1")
    assert "\x1b[32m" in coloured
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) == 72
    ascii_only = on_a_terminal(72, PYTHONIOENCODING="ascii")
    assert ascii_only.isascii()


def test_what_a_server_has_written_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "trace.json")
    settings = [f"triton,file={file}", "rate=1", "level=TIMESTAMPS", "level=TENSORS"]
    tensors: dict[str, Any] = {"inputs": {"X": ("FP32", [-1])}, "outputs": {"Y": ("FP32", [-1])}}
    with atoll.Server(trace_config=settings) as server:
        server.add_model("echo", lambda X: X, **tensors)  # noqa: N803 - the input's name
        for number in range(3):
            server.infer("echo", {"X": np.array([number, 7], np.float32)}, request_id=f"r{number}")
    assert main(["trace", file, "--request-id=r1", "-v"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("trace 2 · echo version 1 · request id r1 ")
    rows = [" ".join(line.split()[:2]) for line in lines[2:6]]
    assert rows[0].split()[0] == "queue"
    assert rows[1:] == ["compute input", "compute infer", "compute output"]
    assert [line.strip() for line in lines[6:]] == ["input X FP32 [2] = 1,7", "output Y FP32 [2] = 1,7"]
    assert err == ""
    assert main(["trace", file, "--summary", "--json"]) == 0
    [summary] = map(json.loads, capsys.readouterr().out.splitlines())
    assert (summary["model"], summary["stages"]["request"]["count"]) == ("echo", 3)
