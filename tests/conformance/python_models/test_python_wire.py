"""The questions about HTTP and gRPC, to Python models: the records were made with these very files."""

from collections.abc import Iterator

import grpc
import pytest
from tests.conformance import differences, grpc_questions
from tests.conformance.comparing import grpc_differences, http_differences
from tests.conformance.models import write_python_repository
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.questions import every
from tests.conformance.record import as_record, ask_http
from tests.conformance.recording import read_record

OF_ONNX = differences.NO_UTF8  # what is only so with ONNX models is as in the real server here
THREAD = 'parameters { key: "isolation" value { string_value: "thread" } }\n'
SHOWN = '"isolation":{"string_value":"thread"}'
HTTP = [question for question in every() if not question.deadly]
GRPC = list(grpc_questions.questions())


@pytest.fixture(scope="module", params=["process", "thread"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for each place that a Python model may run in."""
    folder = tmp_path_factory.mktemp(request.param)
    models = write_python_repository(folder / "models")
    if request.param == "thread":
        for config in models.glob("*/config.pbtxt"):
            config.write_text(config.read_text() + THREAD)
    with start_atoll(models, folder / "log", "--id=triton") as running:
        yield running


def test_http_answers_are_those_of_the_real_server(server: ServerProcess) -> None:
    recorded, table = read_record("http"), differences.by_question(differences.HTTP)
    wrong = []
    for question in HTTP:
        answer = as_record(ask_http(server, question))
        if "body" in answer:
            answer["body"] = answer["body"].replace(SHOWN, "")
        listed = table.get(question.name)
        if listed is None or listed.text == OF_ONNX:
            wrong += [f"{question.name}: {line}" for line in http_differences(recorded[question.name], answer)]
    assert not wrong, "\n".join(wrong)


def test_grpc_answers_are_those_of_the_real_server(server: ServerProcess) -> None:
    recorded, table = read_record("grpc"), differences.by_question(differences.GRPC)
    wrong = []
    with grpc.insecure_channel(server.grpc) as channel:
        for question in GRPC:
            answer = grpc_questions.ask(channel, question)
            for message in answer["messages"]:
                message.get("config", {}).pop("parameters", None)
            listed = table.get(question.name)
            if listed is None or listed.text == OF_ONNX:
                wrong += [f"{question.name}: {line}" for line in grpc_differences(recorded[question.name], answer)]
    assert not wrong, "\n".join(wrong)
