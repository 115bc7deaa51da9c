"""Restricted APIs: Atoll's answers, and what it says of wrong options, compared with those of the real server."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.conformance.access import restricted_questions as asked
from tests.conformance.access.asking_access import grpc_record, http_record, write_models
from tests.conformance.access.record_restricted import record
from tests.conformance.asking_again import ask_again
from tests.conformance.comparing import expect_alike, http_differences
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.recording import read_record

from atoll.errors import InvalidArgumentError
from atoll.frontends.access.restrictions import grpc_restrictions, http_restrictions
from atoll.frontends.apis import Api

RECORDED = read_record("restricted")
HTTP = {one.name: one for one in asked.http()}
GRPC = {one.name: one for one in asked.grpc()}
READERS = {asked.HTTP: http_restrictions, asked.GRPC: grpc_restrictions}
OTHERWISE_HTTP = {
    # the real server looks no further than to a zero byte, which no header may hold
    "metadata with (('X-Secret', 's3cret\\x00'),)": 400,
}
ILL_FORMED = {f"metadata with (('triton-grpc-protocol-secret', '{value}'),)" for value in (" s3cret", "s3cret ")}
"""HTTP/2 allows no white space round a value (RFC 9113, section 8.2.1): nghttp2 ends such a call, grpcio does not."""
TRANSPORTS = ("nghttp2", "grpcio")


@pytest.fixture(scope="module", params=TRANSPORTS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("restricted")
    options = ("--id=triton", "--model-control-mode=explicit", "--load-model=identity")
    models = write_models(folder / "models")
    with start_atoll(
        models, folder / "log", *options, *asked.GROUPS, f"--grpc-transport={request.param}", wait_ready=False
    ) as server:
        yield server


def test_each_question_has_one_name_and_one_record() -> None:
    assert [one.name for one in asked.http()] == list(RECORDED["http"])
    assert [one.name for one in asked.grpc()] == list(RECORDED["grpc"])


def test_the_answers_over_http_are_those_of_the_real_server(server: ServerProcess) -> None:
    alike = {name: one for name, one in RECORDED["http"].items() if name not in OTHERWISE_HTTP}
    expect_alike(alike, {name: http_record(server, HTTP[name]) for name in alike})


def test_the_answers_over_grpc_are_those_of_the_real_server(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        answers = {name: grpc_record(channel, question) for name, question in GRPC.items()}
    ended = {name for name in ILL_FORMED if answers[name]["status"] == "INTERNAL"}
    assert all(["RST_STREAM" in answers[name]["details"] for name in ended])
    expect_alike({name: one for name, one in RECORDED["grpc"].items() if name not in ended}, answers)


@pytest.mark.parametrize("name", OTHERWISE_HTTP)
def test_the_answer_differs_as_the_table_says(server: ServerProcess, name: str) -> None:
    answer = http_record(server, HTTP[name])
    assert http_differences(RECORDED["http"][name], answer), "no longer different: take it out of the table"
    assert answer["status"] == OTHERWISE_HTTP[name]


@pytest.mark.parametrize("option", READERS)
def test_wrong_values_are_refused_in_the_real_servers_words(option: str) -> None:
    for words in [(word,) for word in asked.REFUSED] + list(asked.TWICE):
        with pytest.raises(InvalidArgumentError) as raised:
            READERS[option](words)
        text = RECORDED["refused"][option][" ".join(words)]
        assert text, words
        assert text in str(raised.value)


@pytest.mark.parametrize("option", READERS)
def test_what_the_real_server_takes_is_taken(option: str) -> None:
    found = READERS[option](asked.TAKEN).keys() - {Api.DASHBOARD}  # which goes with the statistics, and is ours
    assert len(found) == len(asked.TAKEN) + 1  # one of them restricts two APIs


@pytest.mark.parametrize("option", READERS)
def test_a_server_with_a_wrong_value_does_not_start(tmp_path: Path, option: str) -> None:
    command = [sys.executable, "-m", "atoll", "serve", str(write_models(tmp_path)), f"{option}=nope:key=value"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert f"error: {RECORDED['refused'][option]['nope:key=value']}" in ended.stderr
    assert "Loading" not in ended.stderr


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    now = ask_again(record, tmp_path)
    expect_alike({kind: RECORDED[kind] for kind in ("http", "grpc")}, now)
    assert now["refused"] == RECORDED["refused"]
