"""What a line of the access log says, and that what waits for it is small."""

import json
from pathlib import Path
from typing import Any

import pytest

from atoll.errors import InvalidArgumentError
from atoll.frontends.access_log import Access, AccessLog, Facts, facts_of, short
from atoll.request import InferenceRequest, InferenceResponse, Timeline

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Model:
    name = "m"
    version = "3"


class Nowhere:
    def send(self, response: InferenceResponse | None, final: bool) -> None:
        pass


def access(**changes: Any) -> Access:
    plain = Access("http", "127.0.0.1:5", "POST", "/v2/models/m/infer", 200, 1_000_000, 3_500_000, 12, 34, ())
    return plain._replace(**changes)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def document(tmp_path: Path, one: Access) -> dict[str, Any]:
    log = AccessLog(str(tmp_path / "log"))
    log.note(one)
    log.close()
    (line,) = lines(tmp_path / "log")
    return line


def test_a_plain_request(tmp_path: Path) -> None:
    line = document(tmp_path, access())
    assert line.pop("time").endswith("Z")
    assert line == {
        "peer": "127.0.0.1:5",
        "protocol": "http",
        "method": "POST",
        "path": "/v2/models/m/infer",
        "status": 200,
        "bytes_in": 12,
        "bytes_out": 34,
        "duration_us": 2500,
    }


def test_a_request_that_was_executed(tmp_path: Path) -> None:
    timeline = Timeline()
    timeline.queue_start, timeline.compute_start, timeline.compute_end = 1_000_000, 1_250_000, 3_000_000
    line = document(tmp_path, access(facts=Facts("me", "m", "1", timeline), key="team", extra={"in_stream": True}))
    wanted = {"model": "m", "version": "1", "request_id": "me", "key": "team", "queue_us": 250, "compute_us": 1750}
    assert {key: line[key] for key in wanted} == wanted
    assert line["in_stream"] is True


def test_times_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    timeline = Timeline()
    timeline.queue_start = 5
    line = document(tmp_path, access(facts=Facts("", "m", "", timeline)))
    assert not {"queue_us", "compute_us", "request_id", "version", "key", "trace_id"} & set(line)


@pytest.mark.parametrize(
    ("traceparent", "expected"),
    [
        (f"00-{TRACE}-b7ad6b7169203331-01", TRACE),
        (f" 00-{TRACE}-b7ad6b7169203331-01 ", TRACE),
        (f"cc-{TRACE}-b7ad6b7169203331-01-what-follows", TRACE),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{TRACE.upper()}-b7ad6b7169203331-01", None),
        (f"00-{TRACE[1:]}-b7ad6b7169203331-01", None),
        (TRACE, None),
        ("", None),
    ],
)
def test_the_trace_id_is_that_of_a_right_traceparent(tmp_path: Path, traceparent: str, expected: str | None) -> None:
    headers = (("traceparent", traceparent), ("trace-bin", b"x"), ("x-request-id", "abc"))
    line = document(tmp_path, access(headers=headers))
    assert line.get("trace_id") == expected
    assert line["x_request_id"] == "abc"


def test_what_clients_choose_is_cut_and_stays_on_its_line(tmp_path: Path) -> None:
    long = "x\n\u2028\udc80" * 1000
    line = document(
        tmp_path, access(path=long, facts=Facts(short(long), long, "", None), headers=[("x-request-id", long)])
    )
    assert all(len(line[key]) <= 512 * 6 for key in ("path", "request_id", "model", "x_request_id"))


def test_nothing_of_a_requests_tensors_is_kept() -> None:
    request = InferenceRequest("m", {}, Nowhere(), id="i" * 1_000_000)
    facts = facts_of(request, Model())
    assert facts == Facts("i" * 512, "m", "3", request.timeline)


def test_lines_that_are_lost_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AccessLog("/dev/full")
    log.note(access())
    assert log.flush(30)
    log.note(access())
    log.close()
    assert "1 lines of the access log could not be written" in caplog.text
    assert "the end of the access log could not be written: 2 lines are lost" in caplog.text


def test_it_follows_rotation(tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"))
    log.note(access())
    assert log.flush(30)
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.reopen()
    log.note(access(status=404))
    log.close()
    assert [line["status"] for line in lines(tmp_path / "log.1") + lines(tmp_path / "log")] == [200, 404]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"cannot be written: No such file .* --access-log must be stdout"):
        AccessLog(str(tmp_path / "nowhere" / "log"))


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_it_may_go_to_the_standard_streams(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog(name)
    log.note(access())
    log.close()
    assert json.loads(getattr(capfd.readouterr(), "out" if name == "stdout" else "err"))["status"] == 200
