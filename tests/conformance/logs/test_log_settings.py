"""The logging extension: Atoll's answers compared with those of the real server, and the official clients."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.conformance import grpc_questions
from tests.conformance.clients import KINDS, any_client
from tests.conformance.comparing import grpc_differences, http_differences
from tests.conformance.logs import log_questions
from tests.conformance.logs.record_log_settings import record
from tests.conformance.process import ServerProcess, install_real_triton, start_atoll
from tests.conformance.record import as_record, ask_http, read_record

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
    assert len(HTTP) == len(list(log_questions.http()))
    assert len(GRPC) == len(list(log_questions.grpc()))
    assert list(RECORDED["http"]) == list(HTTP)
    assert list(RECORDED["half wrong"]) == list(HALF_WRONG)
    assert list(RECORDED["grpc"]) == list(GRPC)


def test_the_answers_over_http_are_those_of_the_real_server(server: ServerProcess) -> None:
    wrong = {}
    for name, question in HTTP.items():
        found = http_differences(RECORDED["http"][name], as_record(ask_http(server, question)))
        if name == TWICE:  # of a key that is there twice the last counts, as everywhere in Atoll
            assert found, "no longer different"
        elif found:
            wrong[name] = found
    assert not wrong, json.dumps(wrong, indent=1)


def test_the_answers_over_grpc_are_those_of_the_real_server(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        wrong = {
            name: grpc_differences(RECORDED["grpc"][name], grpc_questions.ask(channel, question))
            for name, question in GRPC.items()
        }
    assert not any(wrong.values()), json.dumps({name: one for name, one in wrong.items() if one}, indent=1)


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
    reason = install_real_triton()
    if reason:
        pytest.skip(f"the real Triton server cannot be installed: {reason}")
    now = record(tmp_path)
    wrong = {
        f"{kind}, {name}": http_differences(one, now[kind][name])
        for kind in ("http", "half wrong")
        for name, one in RECORDED[kind].items()
    }
    wrong |= {f"gRPC, {name}": grpc_differences(one, now["grpc"][name]) for name, one in RECORDED["grpc"].items()}
    assert not any(wrong.values()), json.dumps(wrong, indent=1)
