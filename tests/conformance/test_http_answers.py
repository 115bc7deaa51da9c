"""Atoll's HTTP answers, compared with those that the real server gave to the same questions."""

import pytest
from tests.conformance import differences
from tests.conformance.comparing import expect_alike, http_differences
from tests.conformance.process import ServerProcess
from tests.conformance.questions import Question, every
from tests.conformance.record import as_record, ask_http
from tests.conformance.recording import read_record

QUESTIONS = {question.name: question for question in every()}
DIFFERENT = differences.by_question(differences.HTTP)
ALIKE = [question for question in QUESTIONS.values() if not question.deadly and question.name not in DIFFERENT]
DEADLY = [question for question in QUESTIONS.values() if question.deadly]


def name_of(value: object) -> str:
    return value.name if isinstance(value, Question) else str(value)


def test_each_question_has_one_name_and_one_record() -> None:
    assert len(QUESTIONS) == len(list(every()))
    assert set(read_record("http")) == {question.name for question in QUESTIONS.values() if not question.deadly}
    assert set(DIFFERENT) <= set(QUESTIONS)


@pytest.mark.parametrize("question", ALIKE, ids=name_of)
def test_the_answer_is_that_of_the_real_server(atoll: ServerProcess, question: Question) -> None:
    got = as_record(ask_http(atoll, question))
    found = http_differences(read_record("http")[question.name], got)
    assert not found, "\n".join([question.name, *found])


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_answer_differs_as_the_table_says(atoll: ServerProcess, name: str) -> None:
    answer = ask_http(atoll, QUESTIONS[name])
    assert http_differences(read_record("http")[name], as_record(answer)), (
        "no longer different: take it out of the table"
    )
    assert answer.status == DIFFERENT[name].status
    assert DIFFERENT[name].text in (answer.error if answer.status >= 400 else answer.body.decode("latin-1"))


@pytest.mark.parametrize("question", DEADLY, ids=name_of)
def test_what_kills_the_real_server_is_refused(atoll: ServerProcess, question: Question) -> None:
    answer = ask_http(atoll, question)
    assert 400 <= answer.status <= 500
    assert answer.error
    assert atoll.exchange("GET", "/v2/health/ready").status == 200


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(real_triton: ServerProcess) -> None:
    asked = [question for question in QUESTIONS.values() if not question.deadly]
    expect_alike(read_record("http"), {one.name: as_record(ask_http(real_triton, one)) for one in asked})
