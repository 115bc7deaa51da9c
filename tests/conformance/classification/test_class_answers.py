"""Classes in place of data: Atoll's answers compared with those of the real server, and the official clients."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.conformance import grpc_questions, questions
from tests.conformance.asking_again import ask_again
from tests.conformance.classification import class_questions
from tests.conformance.classification.class_repository import write_repository
from tests.conformance.classification.record_classes import record
from tests.conformance.clients import KINDS, AnyClient, any_client
from tests.conformance.comparing import expect_alike, grpc_differences, http_differences
from tests.conformance.process import ServerProcess, start_atoll
from tests.conformance.record import as_record, ask_http
from tests.conformance.recording import read_record
from tritonclient.utils import InferenceServerException

RECORDED = read_record("classification")
HTTP = {one.name: one for one in class_questions.http()}
GRPC = {one.name: one for one in class_questions.grpc()}
ALL = [b"3.000000:2:dog", b"2.000000:1", b"1.000000:0:cat"], [b"6.000000:0:cat", b"5.000000:1", b"4.000000:2:dog"]
OTHERWISE_HTTP = {
    f"count {2**32}": ([2, 3], [*ALL[0], *ALL[1]]),  # the real server takes a count's low 32 bits
    f"count {2**32 + 1}": ([2, 3], [*ALL[0], *ALL[1]]),
    # the real server has an order of its own for more than 16 values of which some are equal
    "17 equal ones": ([1, 17], [b"1.000000:0:cat", b"1.000000:1", b"1.000000:2:dog"]),
    # and NaN in any place, with the values round it out of order
    "NaN between": ([1, 5], [b"3.000000:2:dog", b"2.000000:4", b"1.000000:0:cat", b"nan:1", b"nan:3"]),
}
"""Shapes of ours where they differ, and the strings, or the first of them."""
OTHERWISE_GRPC = (f"count {2**32}", f"count {2**32 + 1}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("classification")
    with start_atoll(write_repository(folder / "models"), folder / "log") as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: ServerProcess) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[AnyClient]:
    with any_client(request.param, server) as client:
        yield client


def test_each_question_has_one_name_and_one_record() -> None:
    assert [one.name for one in class_questions.http()] == list(RECORDED["http"])
    assert [one.name for one in class_questions.grpc()] == list(RECORDED["grpc"])


@pytest.mark.parametrize("name", [name for name in HTTP if name not in OTHERWISE_HTTP])
def test_the_answer_over_http_is_that_of_the_real_server(server: ServerProcess, name: str) -> None:
    found = http_differences(RECORDED["http"][name], as_record(ask_http(server, HTTP[name])))
    assert not found, "\n".join([name, *found])


@pytest.mark.parametrize("name", [name for name in GRPC if name not in OTHERWISE_GRPC])
def test_the_answer_over_grpc_is_that_of_the_real_server(channel: grpc.Channel, name: str) -> None:
    found = grpc_differences(RECORDED["grpc"][name], grpc_questions.ask(channel, GRPC[name]))
    assert not found, "\n".join([name, *found])


@pytest.mark.parametrize("name", OTHERWISE_HTTP)
def test_the_answer_differs_as_the_table_says(server: ServerProcess, name: str) -> None:
    answer = ask_http(server, HTTP[name])
    assert http_differences(RECORDED["http"][name], as_record(answer)), "no longer different: take it out of the table"
    (output,) = answer.json()["outputs"]
    shape, strings = OTHERWISE_HTTP[name]
    assert (output["datatype"], output["shape"]) == ("BYTES", shape)
    assert [one.encode() for one in output["data"][: len(strings)]] == strings


@pytest.mark.parametrize("name", OTHERWISE_GRPC)
def test_a_large_count_over_grpc_means_all_classes(channel: grpc.Channel, name: str) -> None:
    got = grpc_questions.ask(channel, GRPC[name])
    assert grpc_differences(RECORDED["grpc"][name], got), "no longer different: take it out of the table"
    assert not grpc_differences(RECORDED["grpc"]["count 9"], got)


@pytest.mark.parametrize(("model", "kind", "shape", "data"), class_questions.DEADLY)
def test_what_ends_the_real_server_is_answered(
    server: ServerProcess, model: str, kind: str, shape: list[int], data: list[object]
) -> None:
    asked, path = class_questions.document(model, kind, shape, {"data": data}, {"classification": 1})
    answer = ask_http(server, questions.ask("", asked, path))
    if kind == "BYTES":
        text = "class result not available for output due to unsupported type 'BYTES'"
        assert (answer.status, answer.json()) == (400, {"error": text})
    else:
        (output,) = answer.json()["outputs"]
        assert (output["datatype"], output["shape"], output["data"]) == ("BYTES", shape, [])


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("model", "names"), [("of_fp32", ("IN", "OUT")), ("ensemble", ("FROM", "TO"))])
def test_the_clients_ask_for_classes(client: AnyClient, model: str, names: tuple[str, str], binary: bool) -> None:
    given, wanted = names
    values = np.array(class_questions.SIX, np.float32).reshape(2, 3)
    form = {"binary_data": binary} if client.protocol == "http" else {}
    output = client.module.InferRequestedOutput(wanted, class_count=2, **form)
    for _ in range(2):  # the second time such a request may be known already
        got = client.infer(model, {given: values}, outputs=[output]).as_numpy(wanted)
        strings = [[one if isinstance(one, bytes) else one.encode() for one in row] for row in got.tolist()]
        assert strings == [one[:2] for one in ALL]
        plain = client.infer(model, {given: values}, outputs=client.outputs(wanted, binary=binary))
        np.testing.assert_array_equal(plain.as_numpy(wanted), values)


def test_the_clients_are_told_what_cannot_be_classified(client: AnyClient) -> None:
    output = client.module.InferRequestedOutput("OUT", class_count=1)
    with pytest.raises(InferenceServerException, match="due to unsupported type 'BOOL'") as caught:
        client.infer("of_bool", {"IN": np.array([[True]])}, outputs=[output])
    assert caught.value.status() == ("400" if client.protocol == "http" else "StatusCode.INVALID_ARGUMENT")


def test_the_extension_is_listed(client: AnyClient) -> None:
    assert client.call("get_server_metadata")["extensions"][0] == "classification"


@pytest.mark.oracle
def test_the_records_are_what_the_real_server_answers(tmp_path: Path) -> None:
    expect_alike(RECORDED, ask_again(record, tmp_path))
