"""Classes in a model.py: weights beside it, what it imports, and what is wrong with it."""

import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from tests.backends.config_text import parameter_text, tensor_text
from tests.backends.pytorch.conftest import TorchModels, config_text

from atoll.errors import InternalError

SCALED = """
from factors import OFFSET

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(4))

    def forward(self, x, shift=None, *, sign=None):
        x = x * self.scale + OFFSET
        x = x if shift is None else x + shift
        return {"y": x if sign is None else x * sign}
"""
WEIGHTS = {"scale": torch.arange(4.0)}


@pytest.mark.parametrize("runtime", ['runtime: "model.py"\n', 'default_model_filename: "model.py"\n'])
def test_a_class_with_weights_and_a_module_beside_it(models: TorchModels, four: Any, runtime: str) -> None:
    path = models.eager(SCALED, config_text("x", "y"), WEIGHTS, runtime=runtime)
    (path.parent / "factors.py").write_text("OFFSET = 0.5\n")
    server = models.server()
    np.testing.assert_array_equal(server.infer("m", {"x": four})["y"], four * np.arange(4) + 0.5)
    server.stop()
    assert not [name for name in sys.modules if name.startswith("atoll_model_") and "factors" in name]


@pytest.mark.parametrize("names", ["x sign", "x shift sign", "x__0 shift__1 sign__2"])
def test_keywords_and_arguments_with_defaults(models: TorchModels, four: Any, names: str) -> None:
    path = models.eager(SCALED, config_text(names, "y"), WEIGHTS)
    (path.parent / "factors.py").write_text("OFFSET = 0\n")
    sent = {name: four if name.startswith("x") else np.full_like(four, 2) for name in names.split()}
    shift = 2 * ("shift" in names)
    found = models.server().infer("m", sent)["y"]
    np.testing.assert_array_equal(found, (four * np.arange(4) + shift) * 2)


TWO = """
class Block(torch.nn.Module):
    def forward(self, x):
        return x + 1

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()

    def forward(self, *tensors):
        return [self.block(one) for one in tensors]
"""


def test_of_several_classes_a_parameter_names_the_model(models: TorchModels, four: Any) -> None:
    more = parameter_text("MODULE_CLASS", "Net")
    models.eager(TWO, config_text("a__1 b__0", "OUTPUT__1 OUTPUT__0", more=more))
    found = models.server().infer("m", {"a__1": four, "b__0": four * 2})
    np.testing.assert_array_equal(found["OUTPUT__1"], four + 1)


@pytest.mark.parametrize(
    ("code", "more", "found"),
    [
        (TWO, "", "it has 2 classes that inherit from torch.nn.Module (Block, Net)"),
        (TWO, parameter_text("MODULE_CLASS", "Nett"), "'MODULE_CLASS' is 'Nett', but its classes"),
        ("x = 1\n", "", "it has no class that inherits from torch.nn.Module"),
        ("x = (\n", "", "SyntaxError: '(' was never closed"),
        ("import not_there\n", "", "ModuleNotFoundError: No module named 'not_there'"),
        ("class M(torch.nn.Module):\n    def __init__(self, size):\n        pass\n", "", "M() failed: TypeError"),
        ("class M(torch.nn.Module):\n    def forward(self, a, b):\n        pass\n", "", "but the model takes 2: a, b"),
    ],
)
def test_code_that_is_no_model_is_refused(models: TorchModels, code: str, more: str, found: str) -> None:
    path = models.eager(code, config_text("x", more=more))
    text = models.refusal()
    assert found in text
    assert "takes 2" in found or str(path) in text


def test_weights_that_do_not_fit_are_refused(models: TorchModels) -> None:
    path = models.eager(SCALED, config_text("x", "y"), {"other": torch.ones(1)})
    (path.parent / "factors.py").write_text("OFFSET = 0\n")
    text = models.refusal()
    assert str(path.parent / "model.pt") in text
    assert "its weights do not fit class Model of model.py" in text
    assert "scale" in text
    assert "other" in text


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_weights_that_are_a_pickle_of_more_than_tensors_are_refused(models: TorchModels) -> None:
    trace = models.repository.path.parent / "harm"
    path = models.eager(SCALED, config_text("x", "y"), {"scale": Harmful(str(trace))})
    (path.parent / "factors.py").write_text("OFFSET = 0\n")
    text = models.refusal()
    assert "may run any code when it is read" in text
    assert "--backend-config=pytorch,allow-pickle=true" in text
    assert not trace.exists()
    wish = parameter_text("allow-pickle", "true")  # a model cannot allow it to itself
    models.eager(SCALED, config_text("x", "y", more=wish), {"scale": Harmful(str(trace))}, name="wishing")
    (path.parents[2] / "wishing" / "1" / "factors.py").write_text("OFFSET = 0\n")
    assert "may run any code" in models.refusal("wishing")
    assert not trace.exists()


class Holder(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.arange(4.0))


def test_a_whole_pickled_module_is_read_where_the_operator_allows_it(trusting: TorchModels, four: Any) -> None:
    path = trusting.eager(SCALED, config_text("x", "y"), Holder())
    (path.parent / "factors.py").write_text("OFFSET = 0\n")
    with trusting.instance() as instance:
        np.testing.assert_array_equal(instance.execute({"x": four}, ["y"])["y"], four * np.arange(4))


def test_weights_that_are_no_state_dict_are_refused(models: TorchModels) -> None:
    path = models.eager(SCALED, config_text("x", "y"), [torch.ones(4)])
    (path.parent / "factors.py").write_text("OFFSET = 0\n")
    assert "it holds a list, where a state dict is expected" in models.refusal()


def test_a_torchscript_file_alone_is_served_too(models: TorchModels, four: Any) -> None:
    config = config_text() + 'runtime: "model.py"\n'
    models.repository.model("m", config, {"model.pt": torch.jit.script(torch.nn.ReLU()).save})
    np.testing.assert_array_equal(models.server().infer("m", {"INPUT__0": four})["OUTPUT__0"], np.maximum(four, 0))


def test_a_folder_without_code_or_weights_is_refused(models: TorchModels) -> None:
    folder = models.repository.model("m", config_text() + 'runtime: "model.py"\n')
    (folder / "notes.txt").write_text("nothing")
    assert f"unable to find '{folder / 'model.py'}'" in models.refusal()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_class_without_its_runtime_is_refused_with_what_to_write(models: TorchModels, weights: Any) -> None:
    models.eager(SCALED, config_text("x", "y"), weights, runtime="")
    assert 'put runtime: "model.py" into config.pbtxt' in models.refusal()


TEXT = """
class Model(torch.nn.Module):
    def forward(self, words: list[str], scale: torch.Tensor):
        return {"upper": [one.upper() for one in words], "scaled": scale * 2}
"""


def test_text_goes_to_a_class_as_a_list(models: TorchModels, four: Any) -> None:
    inputs = tensor_text("input", "words", "STRING", "[1]") + tensor_text("input", "scale")
    outputs = tensor_text("output", "upper", "STRING", "[1]") + tensor_text("output", "scaled")
    models.eager(TEXT, f'backend: "pytorch"\nmax_batch_size: 8\n{inputs}{outputs}')
    words = np.array([[b"ada"], [b"gr\xc3\xa4tzel"]], object)
    found = models.server().infer("m", {"words": words, "scale": four})
    assert found["upper"].tolist() == [[b"ADA"], ["GRÄTZEL".encode()]]
    np.testing.assert_array_equal(found["scaled"], four * 2)


RAISES = """
class Model(torch.nn.Module):
    def forward(self, x):
        if x[0, 0] > 100:
            raise ValueError("more than it can take")
        return x, x
"""


def test_what_the_code_raises_is_told_and_the_instance_goes_on(models: TorchModels, four: Any) -> None:
    models.eager(RAISES, config_text("x", "OUTPUT__1"))
    server = models.server()
    with pytest.raises(InternalError, match="PyTorch execute failure: more than it can take"):
        server.infer("m", {"x": four + 1000})
    np.testing.assert_array_equal(server.infer("m", {"x": four})["OUTPUT__1"], four)


def test_an_ordered_dict_of_weights(models: TorchModels, four: Any) -> None:
    path = models.eager(SCALED, config_text("x", "y"), OrderedDict(scale=torch.ones(4)))
    (path.parent / "factors.py").write_text("OFFSET = 0\n")
    np.testing.assert_array_equal(models.server().infer("m", {"x": four})["y"], four)
