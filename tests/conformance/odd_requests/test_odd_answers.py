"""Requests in odd forms: Atoll's answers compared with those of the real server, and where they differ on purpose."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.conformance import grpc_questions
from tests.conformance.asking_again import ask_again
from tests.conformance.comparing import expect_alike, grpc_differences, http_differences
from tests.conformance.differences import Difference, by_question
from tests.conformance.odd_requests import odd_questions
from tests.conformance.odd_requests.record_odd import record
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.record import as_record, ask_http
from tests.conformance.recording import read_record

RECORDED = read_record("odd_requests")
HTTP = {one.name: one for one in odd_questions.http()}
GRPC = {one.name: one for one in odd_questions.grpc()}
DIFFERENT_HTTP = by_question(
    (
        Difference(
            ("Inference-Header-Content-Length twice: 0, 79",),
            400,
            "input byte size mismatch for input 'IN' for model 'one'. Expected 76, got 79",
            "The input is called by its name, not by 'raw_input'.",
        ),
        Difference(
            ("Content-Encoding twice: gzip, identity",),
            400,
            "failed to decompress the request body",
            "What cannot be decompressed is refused; the real server goes on as if the body were empty.",
        ),
        Difference(("Content-Encoding ''",), 200, '"data":[3,4]', "An empty value names no coding."),
        Difference(
            ('"data":[3,4],"data":[5,6]',),
            200,
            '"data":[5,6]',
            "Of members with the same name the last one counts, as for most readers of JSON (RFC 8259, section 4).",
        ),
        Difference(('"data":[3,4],"name":"X"',), 400, "unexpected inference input 'X'", "The same."),
        Difference(('"data":[3,4],"shape":[1]',), 500, "Shape does not match true shape of 'data' field", "The same."),
        Difference(('"data":[3,4],"datatype":"FP32"',), 400, "data-type is 'FP32'", "The same."),
        Difference(("an id twice",), 200, '"id":"b"', "The same."),
        Difference(
            ('"id":"a\\u0000b"',), 200, r'"id":"a\u0000b"', "Texts go back whole; the real server's end at a NUL."
        ),
    )
)
DIFFERENT_GRPC = by_question(
    (
        Difference(
            ("shape [-2]", "texts of shape [-1, 1]", "texts of shape [1, -2]"),
            "INVALID_ARGUMENT",
            "All input dimensions should be specified for input 'IN'",
            "The text names the mistake; the real server's has the number of bytes or elements that it makes of it.",
        ),
    )
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("odd")
    with start_atoll(odd_questions.write_repository(folder / "models"), folder / "log") as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


def test_each_question_has_one_name_and_one_record() -> None:
    assert [one.name for one in odd_questions.http()] == list(RECORDED["http"])
    assert [one.name for one in odd_questions.grpc()] == list(RECORDED["grpc"])
    assert set(DIFFERENT_HTTP) <= set(HTTP)
    assert set(DIFFERENT_GRPC) <= set(GRPC)


@pytest.mark.parametrize("name", [name for name in HTTP if name not in DIFFERENT_HTTP])
def test_the_answer_over_http_is_that_of_the_real_server(server: ServerProcess, name: str) -> None:
    found = http_differences(RECORDED["http"][name], as_record(ask_http(server, HTTP[name])))
    assert not found, "\n".join([name, *found])


@pytest.mark.parametrize("name", [name for name in GRPC if name not in DIFFERENT_GRPC])
def test_the_answer_over_grpc_is_that_of_the_real_server(channel: grpc.Channel, name: str) -> None:
    found = grpc_differences(RECORDED["grpc"][name], grpc_questions.ask(channel, GRPC[name]))
    assert not found, "\n".join([name, *found])


@pytest.mark.parametrize("name", DIFFERENT_HTTP)
def test_the_answer_over_http_differs_as_the_table_says(server: ServerProcess, name: str) -> None:
    answer = ask_http(server, HTTP[name])
    assert http_differences(RECORDED["http"][name], as_record(answer)), "no longer different: take it out of the table"
    assert answer.status == DIFFERENT_HTTP[name].status
    assert DIFFERENT_HTTP[name].text in (answer.error if answer.status >= 400 else answer.body.decode())


@pytest.mark.parametrize("name", DIFFERENT_GRPC)
def test_the_answer_over_grpc_differs_as_the_table_says(channel: grpc.Channel, name: str) -> None:
    got = grpc_questions.ask(channel, GRPC[name])
    assert grpc_differences(RECORDED["grpc"][name], got), "no longer different: take it out of the table"
    assert got["status"] == DIFFERENT_GRPC[name].status
    assert DIFFERENT_GRPC[name].text in got["details"]


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    expect_alike(RECORDED, ask_again(record, tmp_path))
