"""Requests of different lengths that run together: ragged and padded batches of ONNX models, through the library."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.server import variable_length_models as models

import atoll
from atoll.errors import AtollError, ConfigError, InvalidArgumentError
from atoll.request import InferenceRequest, InferenceResponse
from atoll.tensor import Tensor

BUCKETS = models.PADDING % ', "buckets": [4, 8]'
AS_IT_COMES = "dynamic_batching { }"

STRATEGIES = {
    "oldest": "oldest { max_candidate_sequences: 4 preferred_batch_size: 2 max_queue_delay_microseconds: 10000000 }",
    "direct": "direct { minimum_slot_utilization: 0.5 max_queue_delay_microseconds: 10000000 }",
}
WARMUP = """
model_warmup [ {
  name: "both" batch_size: 2
  inputs { key: "TOKENS" value { data_type: TYPE_INT64 dims: [ 3 ] zero_data: true } }
} ]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[atoll.Server]:
    repository = tmp_path_factory.mktemp("models")
    models.write(repository, "ragged", models.ragged_model(), models.RAGGED)
    models.write(repository, "longest", models.padded_model(), models.PADDED % (models.WAIT, models.PADDING % ""))
    models.write(repository, "buckets", models.padded_model(), models.PADDED % (models.WAIT, BUCKETS))
    models.write(repository, "at_once", models.padded_model(), models.PADDED % (AS_IT_COMES, BUCKETS))
    isolated = "parameters { key: 'isolation' value { string_value: 'process' } }"
    models.write(repository, "isolated_ragged", models.ragged_model(), models.RAGGED + isolated)
    config = models.PADDED % (models.WAIT, models.PADDING % "")
    models.write(repository, "isolated_padded", models.padded_model(), config + isolated)
    for name, strategy in STRATEGIES.items():
        config = models.PADDED % (f"sequence_batching {{ {strategy} }}", models.PADDING % "")
        models.write(repository, name, models.padded_model(), config + WARMUP)
    with atoll.Server(repository) as running:
        yield running


def together(server: atoll.Server, model: str, inputs: list[dict[str, Any]]) -> list[Any]:
    """The answers, or errors, to requests that were made at the same time."""
    answers: list[Any] = [None] * len(inputs)

    def ask(number: int) -> None:
        try:
            answers[number] = server.infer(model, inputs[number])
        except AtollError as error:
            answers[number] = error

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def executions(server: atoll.Server, model: str) -> int:
    (found,) = server.statistics(model)
    return found.execution_count


def floats(*values: float) -> Any:
    return np.array([values], np.float32)


def tokens(*values: int) -> Any:
    return np.array([values], np.int64)


@pytest.mark.parametrize("model", ["ragged", "isolated_ragged"])
def test_ragged_requests_run_in_one_batch(server: atoll.Server, model: str) -> None:
    before = executions(server, model)
    values = [floats(1, 2, 3), floats(10), floats(), floats(4, 5)]
    answers = together(server, model, [{"VALUES": one} for one in values])
    assert executions(server, model) == before + 1
    for one, answer in zip(values, answers, strict=True):
        assert answer["SUM"].tolist() == [[one.sum()]]
        assert answer["DOUBLED"].tolist() == (one * 2).tolist()
        assert answer["LARGEST"].tolist() == [[3]]


def test_only_the_outputs_that_a_request_wants_are_cut_for_it(server: atoll.Server) -> None:
    answers: list[Any] = []
    values = [floats(1, 2), floats(3), floats(4, 5, 6), floats(7)]
    threads = [
        threading.Thread(
            target=lambda one=one, number=number: answers.append(
                (one, server.infer("ragged", {"VALUES": one}, outputs=["DOUBLED"] if number % 2 else ["SUM"]))
            )
        )
        for number, one in enumerate(values)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 4
    for one, answer in answers:
        (tensor,) = answer.outputs
        expected = (one * 2).tolist() if tensor.name == "DOUBLED" else [[one.sum()]]
        assert tensor.array().tolist() == expected


@pytest.mark.parametrize(("model", "padded"), [("longest", 5), ("buckets", 8), ("isolated_padded", 5)])
def test_padded_requests_run_in_one_batch_and_get_their_own_length(
    server: atoll.Server, model: str, padded: int
) -> None:
    before = executions(server, model)
    values = [tokens(0, 2, 3), tokens(4), tokens(2, 2, 2, 2, 3), tokens(3, 0)]
    answers = together(server, model, [{"TOKENS": one} for one in values])
    assert executions(server, model) == before + 1
    for one, answer in zip(values, answers, strict=True):
        expected = models.EMBEDDINGS[one]
        assert np.array_equal(answer["EMBEDDED"], expected)
        assert np.allclose(answer["MEAN"], expected.mean(axis=1))
        assert answer["SEEN"].tolist() == [[padded]]


def test_requests_of_several_items_and_an_empty_one(server: atoll.Server) -> None:
    pair = np.array([[0, 2, 3], [4, 4, 4]], np.int64)
    empty = np.zeros((1, 0), np.int64)
    before = executions(server, "longest")
    answers = together(server, "longest", [{"TOKENS": pair}, {"TOKENS": empty}, {"TOKENS": tokens(2)}])
    assert executions(server, "longest") == before + 1
    assert np.array_equal(answers[0]["EMBEDDED"], models.EMBEDDINGS[pair])
    assert answers[1]["EMBEDDED"].shape == (1, 0, 2)
    assert answers[2]["MEAN"].tolist() == [[2, 3]]


def test_a_request_over_the_last_bucket_hits_nobody_else(server: atoll.Server) -> None:
    values = [tokens(0), tokens(*[2] * 9), tokens(4, 4), tokens(2), tokens(3)]
    before = executions(server, "buckets")
    answers = together(server, "buckets", [{"TOKENS": one} for one in values])
    assert executions(server, "buckets") == before + 1
    refused = answers.pop(1)
    assert isinstance(refused, InvalidArgumentError)
    assert str(refused) == (
        "[request id: <id_unknown>] input 'TOKENS' for model 'buckets' has shape [1,9], but its dimension 1 can be "
        "padded to 8 at most: that is the largest bucket"
    )
    assert [answer["SEEN"].tolist() for answer in answers] == [[[4]]] * 4


def test_a_single_request_is_padded_to_its_bucket_too(server: atoll.Server) -> None:
    answer = server.infer("at_once", {"TOKENS": tokens(0, 2, 3, 4, 0)})
    assert answer["SEEN"].tolist() == [[8]]
    assert answer["EMBEDDED"].shape == (1, 5, 2)


@pytest.mark.parametrize("model", STRATEGIES)
def test_parts_of_sequences_are_padded_together(server: atoll.Server, model: str) -> None:
    before = executions(server, model)
    assert before == 1  # the warmup
    values = [tokens(0, 2, 3), tokens(4)]
    asked = []
    for number, one in enumerate(values, 1):
        request = InferenceRequest(
            model,
            {"TOKENS": Tensor.from_numpy("TOKENS", one)},
            answer := Answer(),
            parameters={"sequence_id": number, "sequence_start": True, "sequence_end": True},
        )
        server.submit(request)
        asked.append(answer)
    for one, answer in zip(values, asked, strict=True):
        assert answer.came.wait(60)
        assert answer.response is not None
        assert np.array_equal(answer.response["EMBEDDED"], models.EMBEDDINGS[one])
        assert np.allclose(answer.response["MEAN"], models.EMBEDDINGS[one].mean(axis=1))
    assert executions(server, model) == before + 1


class Answer:
    """Waits for a request's only answer."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.response: InferenceResponse | None = None

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self.response = response
        self.came.set()


def test_what_clients_see_are_their_own_inputs(server: atoll.Server) -> None:
    assert [one.name for one in server.model_metadata("ragged").inputs] == ["VALUES"]
    assert [one.name for one in server.model_metadata("longest").inputs] == ["TOKENS"]


def failure(tmp_path: Path, model: bytes, config: str) -> str:
    models.write(tmp_path, "m", model, config)
    with pytest.raises((ConfigError, AtollError)) as raised:
        atoll.Server(tmp_path).start()
    return str(raised.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            ('target_name: "BOUNDS"', 'target_name: "BONDS"'),
            r"config.pbtxt:\d+:\d+: batch_input\[0\].target_name: .*the target 'BONDS' of batch_input\[0\] is no input",
        ),
        (
            ('"BOUNDS" data_type: TYPE_INT32', '"BOUNDS" data_type: TYPE_FP32'),
            r"batch_input\[0\].data_type: .*unexpected datatype TYPE_FP32 for the target 'BOUNDS'",
        ),
        (
            ("BATCH_ELEMENT_COUNT", "BATCH_ITEM_SHAPE"),
            r"batch_input\[1\].target_name: .*the target 'COUNTS' of batch_input\[1\] has 2 dimensions, but the model "
            r"expects 1 dimensions",
        ),
        (
            ('"SUM" data_type: TYPE_FP32 dims: [ 1 ]', '"SUM" data_type: TYPE_FP32 dims: [ 2 ]'),
            r"output\[0\].dims: .*the model expects 2 dimensions",
        ),
    ],
)
def test_a_ragged_model_that_does_not_fit(tmp_path: Path, change: tuple[str, str], text: str) -> None:
    assert change[0] in models.RAGGED
    assert re.search(text, failure(tmp_path, models.ragged_model(), models.RAGGED.replace(*change)))


def test_a_ragged_input_is_flat_in_the_model(tmp_path: Path) -> None:
    config = 'backend: "onnxruntime" max_batch_size: 4 input [{ name: "TOKENS" allow_ragged_batch: true }]'
    assert (
        "unable to load model 'm', configuration expects model provides input with shape [-1]  for ragged input "
        "'TOKENS', model provides [-1,-1]" in failure(tmp_path, models.padded_model(), config)
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (('"MASK"', '"MUSK"'), r"parameters\['padding'\]: .*the mask 'MUSK' of padded input 'TOKENS' is no input of"),
        (('"data_type": "TYPE_FP32"', '"data_type": "TYPE_INT32"'), r"unexpected datatype TYPE_INT32 for the mask"),
        (('"LENGTHS"', '{"name": "MASK"}'), r"'MASK' is named 2 times"),
    ],
)
def test_a_padded_model_that_does_not_fit(tmp_path: Path, change: tuple[str, str], text: str) -> None:
    config = models.PADDED % (models.WAIT, models.PADDING % "")
    assert change[0] in config
    assert re.search(text, failure(tmp_path, models.padded_model(), config.replace(*change)))


SHAPES_SEEN = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            array = pb.get_input_tensor_by_name(request, "IN").as_numpy()
            rows = array.shape[0]
            answers.append(pb.InferenceResponse([
                pb.Tensor("OUT", RETURNED),
                pb.Tensor("RANK", np.full((rows, 1), array.ndim, np.int32)),
                pb.Tensor("BATCH", np.full((rows, 1), len(requests), np.int32)),
            ]))
        return answers
"""


def write_python(repository: Path, name: str, *, given: str, returned: str = "array", more: str = "") -> None:
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(SHAPES_SEEN.replace("RETURNED", returned))
    (repository / name / "config.pbtxt").write_text(
        f'backend: "python" max_batch_size: 4 input [{{ name: "IN" data_type: TYPE_FP32 {given} }}] '
        f'output [{{ name: "OUT" data_type: TYPE_FP32 {given.split("allow")[0]} }}, '
        '{ name: "RANK" data_type: TYPE_INT32 dims: [1] }, { name: "BATCH" data_type: TYPE_INT32 dims: [1] }] '
        f"instance_group [{{ kind: KIND_CPU }}] {models.WAIT} {more}"
    )


RESHAPED = "dims: [ -1, 4 ] reshape { shape: [ -1, 2, 2 ] }"


@pytest.fixture(scope="module")
def python_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[atoll.Server]:
    repository = tmp_path_factory.mktemp("python")
    padding = 'parameters { key: \'padding\' value { string_value: \'{"inputs": {"IN": {"buckets": [4]}}}\' } }'
    thread = "parameters { key: 'isolation' value { string_value: 'thread' } }"
    write_python(repository, "ragged", given="dims: [ -1 ] allow_ragged_batch: true", more=thread)
    write_python(repository, "padded", given="dims: [ -1 ]", more=padding + thread)
    write_python(repository, "reshaped", given=RESHAPED)
    write_python(repository, "reshaped_in_a_thread", given=RESHAPED, more=thread)
    wrong = "np.zeros((1, 3, 5, 2), np.float32)"
    write_python(repository, "misshapen", given=RESHAPED, returned=wrong, more=thread)
    with atoll.Server(repository) as running:
        yield running


@pytest.mark.parametrize("model", ["ragged", "padded"])
def test_python_models_get_requests_of_different_shapes_in_one_batch_as_they_are(
    python_server: atoll.Server, model: str
) -> None:
    values = [floats(1, 2, 3), floats(1), floats(1, 2), floats(1, 2, 3, 4)]
    answers = together(python_server, model, [{"IN": one} for one in values])
    for one, answer in zip(values, answers, strict=True):
        assert answer["OUT"].tolist() == one.tolist()
        assert answer["BATCH"].tolist() == [[4]]


@pytest.mark.parametrize("model", ["reshaped", "reshaped_in_a_thread"])
def test_python_models_see_the_reshape_and_their_clients_do_not(python_server: atoll.Server, model: str) -> None:
    values = [np.arange(rows * 12, dtype=np.float32).reshape(rows, 3, 4) for rows in (1, 2, 1)]
    for one, answer in zip(values, together(python_server, model, [{"IN": one} for one in values]), strict=True):
        assert answer["RANK"].ravel().tolist() == [4] * len(one)
        assert np.array_equal(answer["OUT"], one)


def test_an_output_that_does_not_fit_its_reshape_has_the_real_servers_words(python_server: atoll.Server) -> None:
    values = [np.zeros((2, 3, 4), np.float32)] * 2
    for answer in together(python_server, "misshapen", [{"IN": one} for one in values]):
        assert str(answer) == "output tensor shape does not match size of output for 'OUT'"
