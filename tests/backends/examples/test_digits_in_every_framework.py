"""The examples' digit models in every installed framework, in one server: the same tensors, and the same answers."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples.catalogue import OTHERS, REFERENCES, DigitModel
from examples.comparison import disagreements, row
from examples.digits import held_back_digits

from atoll import Server

EXAMPLES = Path(__file__).parents[3] / "examples"
INSTALLED = [model for model in OTHERS if model.installed]
MODELS = [*REFERENCES, *INSTALLED]
SHARING = [model for model in INSTALLED if model.weights_of]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """With all of them; it does not start where one cannot be loaded."""
    folders = [EXAMPLES / "models", EXAMPLES / "frameworks"]
    names = tuple(model.name for model in MODELS)
    with Server(folders, model_control_mode="explicit", load_model=names) as running:
        yield running


def ask(server: Server, model: DigitModel, images: Any) -> Any:
    """FP32 [count, 10]: one request for each four images, from eight threads."""
    pixels = images.reshape(-1, *model.dims)

    def probabilities(start: int) -> Any:
        return server.infer(model.name, {"PIXELS": pixels[start : start + 4]})["PROBABILITIES"]

    with ThreadPoolExecutor(8) as threads:
        return np.concatenate(list(threads.map(probabilities, range(0, len(pixels), 4))))


def test_all_give_the_answers_of_onnx_runtime(server: Server) -> None:
    images, labels = held_back_digits()
    answers = {model.name: ask(server, model, images) for model in MODELS}
    for model in MODELS:
        assert answers[model.name].dtype == np.float32, model.name
        assert answers[model.name].shape == (360, 10), model.name
        np.testing.assert_allclose(answers[model.name].sum(axis=1), 1, atol=1e-5, err_msg=model.name)
    rows = [row(model.name, model.framework, model.weights_of, answers, labels) for model in MODELS]
    assert disagreements(rows, json.loads((EXAMPLES / "accuracy.json").read_text())) == []


@pytest.mark.parametrize("model", INSTALLED, ids=lambda model: model.name)
def test_tensors_are_called_alike_everywhere(server: Server, model: DigitModel) -> None:
    found = server.model_metadata(model.name)
    assert [(one.name, one.datatype.name, one.shape[1:]) for one in found.inputs] == [("PIXELS", "FP32", model.dims)]
    assert [(one.name, one.datatype.name, one.shape[1:]) for one in found.outputs] == [("PROBABILITIES", "FP32", (10,))]


@pytest.mark.parametrize("model", SHARING, ids=lambda model: model.name)
def test_a_row_is_the_same_alone_and_in_a_batch(server: Server, model: DigitModel) -> None:
    pixels = held_back_digits().images[:4].reshape(-1, *model.dims)
    together = server.infer(model.name, {"PIXELS": pixels})["PROBABILITIES"]
    for number in range(4):
        alone = server.infer(model.name, {"PIXELS": pixels[number : number + 1]})["PROBABILITIES"]
        np.testing.assert_allclose(alone[0], together[number], atol=1e-5)
