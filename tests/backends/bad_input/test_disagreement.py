"""Configurations that say of a model what is not so: both sides are named, at load where the file can tell."""

from typing import Any

import numpy as np
import pytest
from tests.backends.bad_input.model_files import FORMATS, Frail, ModelFormat

WRONG: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    # what is wrong, what the file would have to say to tell it, and what the error names
    "input type": ({"input_type": "INT16"}, "input types", ("PIXELS", "TYPE_INT16", "TYPE_FP32")),
    "output type": ({"output_type": "INT16"}, "types", ("PROBABILITIES", "TYPE_INT16", "TYPE_FP32")),
    "input dims": ({"pixels": (7,)}, "shapes", ("PIXELS", "7")),
    "output dims": ({"classes": 11}, "shapes", ("PROBABILITIES", "[11]", "10")),
}
ONE_MORE = 'put [{name: "ONE_MORE", data_type: TYPE_FP32, dims: [2]}]'
MODELS = [one.name for one in FORMATS.values() if one.path is not None]


def loaded(frail: Frail, given: ModelFormat, config: str) -> tuple[str, str]:
    """The model's name, and the error of its load."""
    model, folder = frail.folder()
    given.put(folder)
    (folder.parent / "config.pbtxt").write_text(config)
    return model, frail.load(model)


def cannot_tell(given: ModelFormat, what: str) -> bool:
    return what in given.unsaid or what.removeprefix("input ") in given.unsaid


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("wrong", WRONG)
def test_types_and_shapes_that_the_model_does_not_have(frail: Frail, name: str, wrong: str) -> None:
    given = FORMATS[name]
    changes, fact, named = WRONG[wrong]
    model, text = loaded(frail, given, given.config(**changes))
    if not cannot_tell(given, fact):
        assert model in text
        for one in named:
            assert one in text, text
    else:
        assert text == ""
        shape = changes.get("pixels", given.pixels)
        datatype = changes.get("input_type", "FP32")
        pixels = np.ones((1, *shape), np.int16 if datatype == "INT16" else np.float32)
        found, text = frail.answer(model, pixels, datatype)
        if wrong == "input type":  # what computes with numbers of any type has nothing against it
            assert text or found.shape == (1, 10)
        elif wrong == "input dims":
            assert text
        else:
            for one in named:
                assert one in text, text
    frail.serves()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["input", "output"])
def test_one_tensor_more_than_the_model_has(frail: Frail, name: str, kind: str) -> None:
    given = FORMATS[name]
    model, text = loaded(frail, given, given.config(more=f"{kind.removesuffix('put')}{ONE_MORE}"))
    if not text:  # what the model returns is seen when it runs
        assert "types" in given.unsaid
        assert kind == "output"
        _, text = frail.answer(model, np.ones((1, *given.pixels), np.float32))
    assert "ONE_MORE" in text or ("2 inputs" in text and kind == "input"), text
    assert model in text
    frail.serves()


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_where_none_fits(frail: Frail, name: str) -> None:
    given = FORMATS[name]
    # as many dims as the whole shape has: with the batch's there is one too many
    model, text = loaded(frail, given, given.config(pixels=(2, *given.pixels)))
    if not text:
        assert "shapes" in given.unsaid
        _, text = frail.answer(model, np.ones((1, 2, *given.pixels), np.float32))
    else:
        assert model in text
    assert text
    frail.serves()
