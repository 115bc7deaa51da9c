"""Atoll's gRPC answers, over each transport, compared with those that the real server gave to the same questions."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.conformance import differences, grpc_questions
from tests.conformance.comparing import expect_alike, grpc_differences
from tests.conformance.grpc_questions import Question
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.recording import read_record

QUESTIONS = {question.name: question for question in grpc_questions.questions()}
DIFFERENT = differences.by_question(differences.GRPC)
ALIKE = [question for question in QUESTIONS.values() if question.name not in DIFFERENT]


@pytest.fixture(scope="module", params=["nghttp2", "grpcio"])
def channel(
    request: pytest.FixtureRequest, onnx_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[grpc.Channel]:
    if request.param == "nghttp2":
        pytest.importorskip("atoll.frontends.grpc.nghttp2._nghttp2", reason="the native transport is not built")
    log = tmp_path_factory.mktemp(request.param) / "log"
    with (
        start_atoll(onnx_repository, log, "--id=triton", f"--grpc-transport={request.param}") as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        yield channel


def test_each_question_has_one_name_and_one_record() -> None:
    assert len(QUESTIONS) == len(list(grpc_questions.questions()))
    assert set(read_record("grpc")) == set(QUESTIONS)
    assert set(DIFFERENT) <= set(QUESTIONS)


@pytest.mark.parametrize("question", ALIKE, ids=lambda question: question.name)
def test_the_answer_is_that_of_the_real_server(channel: grpc.Channel, question: Question) -> None:
    found = grpc_differences(read_record("grpc")[question.name], grpc_questions.ask(channel, question))
    assert not found, "\n".join([question.name, *found])


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_answer_differs_as_the_table_says(channel: grpc.Channel, name: str) -> None:
    answer = grpc_questions.ask(channel, QUESTIONS[name])
    assert grpc_differences(read_record("grpc")[name], answer), "no longer different: take it out of the table"
    assert answer["status"] == DIFFERENT[name].status
    assert DIFFERENT[name].text in answer["details"] or any(
        DIFFERENT[name].text in str(one) for one in answer["messages"]
    )


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(real_triton: ServerProcess) -> None:
    expect_alike(read_record("grpc"), grpc_questions.ask_all(real_triton.grpc))
