"""Python models: Atoll's answers to every scenario, compared with those of the real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.asking_again import all_is_asked, skip_without_real_server
from tests.conformance.process import start_atoll
from tests.conformance.python_models import broken_steps
from tests.conformance.python_models.alike import differences
from tests.conformance.python_models.differences import DIFFERENT, Different
from tests.conformance.python_models.record_python import RECORD, record
from tests.conformance.python_models.scenarios import OPTIONS, Examination, scenarios
from tests.conformance.python_models.unrecorded import UNRECORDED
from tests.conformance.recording import read_record

SCENARIOS = scenarios()
ASKED = [name for name in SCENARIOS if name not in UNRECORDED]


# What these do, they do to the whole process; the first one asks about the process itself.
OF_PROCESSES = ("lab, request", *broken_steps.CRASHES, "execute_terminates_itself", "initialize_ends_the_process")
OF_PROCESSES += ("initialize_segfaults", "closes_its_output", "finalize_ends_the_process", "execute_prints_a_lot")
IN_THREADS = [name for name in ASKED if name not in OF_PROCESSES]


@pytest.fixture(scope="module")
def examination(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examination]:
    folder = tmp_path_factory.mktemp("python-models")
    with Examination(lambda models, log: start_atoll(models, log, *OPTIONS), folder) as one:
        yield one


@pytest.fixture(scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examination]:
    folder = tmp_path_factory.mktemp("python-models-in-threads")
    with Examination(lambda models, log: start_atoll(models, log, *OPTIONS), folder, threads=True) as one:
        yield one


def test_each_scenario_has_one_record() -> None:
    recorded = read_record(RECORD)
    assert set(recorded) == set(ASKED)
    assert {name: [step.name for step in SCENARIOS[name]] for name in ASKED} == {
        name: list(answers) for name, answers in recorded.items()
    }


@pytest.mark.parametrize("name", ASKED)
def test_the_answers_are_those_of_the_real_server(examination: Examination, name: str) -> None:
    _compare(examination, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_THREADS)
def test_the_answers_are_the_same_from_threads_of_the_server(threads: Examination, name: str) -> None:
    _compare(threads, name)


def _compare(examination: Examination, name: str) -> None:
    recorded = read_record(RECORD)[name]
    answers = examination.take(SCENARIOS[name])
    assert not examination.ended, f"the server has ended:\n{examination.log_text()[-3000:]}"
    wrong = []
    for step, expected in recorded.items():
        found = differences(expected, answers[step])
        different = DIFFERENT.get((name, step))
        if different is None:
            wrong += [f"{step}: {line}" for line in found]
        elif not found:
            wrong.append(f"{step}: no longer different, take it out of the table")
        else:
            wrong += _unlike_the_table(step, different, answers[step])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", UNRECORDED)
def test_what_the_real_server_never_answers_is_answered(examination: Examination, name: str) -> None:
    answers = examination.take(SCENARIOS[name])
    assert not examination.ended, f"the server has ended:\n{examination.log_text()[-3000:]}"
    for beginning, (status, texts) in UNRECORDED[name].answers.items():
        steps = [step for step in answers if step.startswith(beginning)]
        assert steps, beginning
        for step in steps:
            assert answers[step].get("status", 0) == status, f"{step}: {answers[step]}"
            assert all(text in json.dumps(answers[step]) for text in texts), f"{step}: {answers[step]}"
    assert {"settled": False} not in list(answers.values())


ASKED_EACH_TIME = (  # of the real server; all of them take eight minutes: ATOLL_ASK_ORACLE=all
    "auto_all",
    "decoupled",
    "error codes",
    "execute_raises_deeper",
    "execute_returns_a_tuple",
    "initialize_raises",
    "lab, tensor",
    "optional inputs",
    "other_output_type",
    "plain_sends_and_returns_none",
    "strings",
    "syntax_error",
    "two outputs",
)


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    skip_without_real_server()
    names = [] if all_is_asked() else list(ASKED_EACH_TIME)
    recorded, now = read_record(RECORD), record(names, tmp_path)
    if names:
        recorded = {name: recorded[name] for name in names}
    assert set(recorded) == set(now)
    found = {
        f"{name}, {step}": differences(answer, now[name].get(step))
        for name, answers in recorded.items()
        for step, answer in answers.items()
        if answer != {"settled": False}
    }
    wrong = {title: lines for title, lines in found.items() if lines}
    assert not wrong, json.dumps(wrong, indent=1)


def _unlike_the_table(step: str, different: Different, answer: Any) -> list[str]:
    text = json.dumps(answer, ensure_ascii=False)
    status = answer.get("status") if isinstance(answer, dict) else None
    if different.status is not None and status != different.status:
        return [f"{step}: status {status}, the table says {different.status}: {text[:400]}"]
    return [f"{step}: {missing!r} is not in {text[:600]}" for missing in different.texts if missing not in text]
