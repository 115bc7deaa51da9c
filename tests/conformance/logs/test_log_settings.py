"""The logging extension: Atoll's answers compared with those of the real server, and the official clients."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.conformance import grpc_questions
from tests.conformance.asking_again import ask_again
from tests.conformance.clients import KINDS, any_client
from tests.conformance.comparing import expect_alike, http_differences, record_differences
from tests.conformance.logs import log_questions
from tests.conformance.logs.record_log_settings import record
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.record import as_record, ask_http
from tests.conformance.recording import read_record

RECORDED = read_record("log_settings")
HTTP = {one.name: one for one in log_questions.http()}
HALF_WRONG = {one.name: one for one in log_questions.half_wrong()}
GRPC = {one.name: one for one in log_questions.grpc()}
TWICE = 'twice: {"log_info": false, "log_info": true}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("log_settings")
    (folder / "models").mkdir()
    with start_atoll(folder / "models", folder / "log") as server:
        yield server


def test_each_question_has_one_name_and_one_record() -> None:
    assert [one.name for one in log_questions.http()] == list(RECORDED["http"])
    assert [one.name for one in log_questions.half_wrong()] == list(RECORDED["half wrong"])
    assert [one.name for one in log_questions.grpc()] == list(RECORDED["grpc"])


def test_the_answers_over_http_are_those_of_the_real_server(server: ServerProcess) -> None:
    answers = {name: as_record(ask_http(server, question)) for name, question in HTTP.items()}
    wrong = record_differences(RECORDED["http"], answers)
    # of a key that is there twice the last counts, as everywhere in Atoll
    assert list(wrong) == [TWICE], json.dumps(wrong, indent=1)


def test_the_answers_over_grpc_are_those_of_the_real_server(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        answers = {name: grpc_questions.ask(channel, question) for name, question in GRPC.items()}
    expect_alike(RECORDED["grpc"], answers)


def test_a_request_that_is_refused_changes_nothing(server: ServerProcess) -> None:
    """The real server keeps what stood before the mistake."""
    before = server.exchange("GET", log_questions.PATH).json()
    for name, question in HALF_WRONG.items():
        answer = as_record(ask_http(server, question))
        if name.startswith("after"):
            assert http_differences(RECORDED["half wrong"][name], answer), "no longer different"
            assert json.loads(answer["body"]) == before
        else:
            assert not http_differences(RECORDED["half wrong"][name], answer)


@pytest.mark.parametrize("kind", KINDS)
def test_the_clients_change_settings(server: ServerProcess, kind: str) -> None:
    with any_client(kind, server) as client:
        try:
            client.call("update_log_settings", {"log_verbose_level": 2, "log_info": False, "log_format": "json"})
            got = json.dumps(client.call("get_log_settings"), default=str)
            assert "json" in got
            document = server.exchange("GET", log_questions.PATH).json()
            assert (document["log_verbose_level"], document["log_info"], document["log_format"]) == (2, False, "json")
        finally:
            client.call("update_log_settings", log_questions.RESET)


def test_the_extension_is_listed_last(server: ServerProcess) -> None:
    assert server.exchange("GET", "/v2").json()["extensions"][-1] == "logging"


def test_pages_of_other_origins_may_not_ask(server: ServerProcess) -> None:
    for method in ("GET", "POST"):
        answer = server.exchange(method, log_questions.PATH, body=b"{}", headers={"Origin": "http://elsewhere"})
        assert answer.status == 403


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    expect_alike(RECORDED, ask_again(record, tmp_path))
