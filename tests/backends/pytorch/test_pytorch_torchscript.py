"""TorchScript files: names, results, text, optional arguments, and what is wrong with a configuration or a file."""

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tests.backends.config_text import tensor_text
from tests.backends.pytorch.conftest import TorchModels, config_text

from atoll.backends.error_text import MOST_TEXT
from atoll.errors import InternalError, InvalidArgumentError


class Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


class Weighted(torch.nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + 10 * y, x - y


class OfDict(torch.nn.Module):
    def forward(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sum": tensors["a"] + tensors["b"], "difference": tensors["a"] - tensors["b"]}


class Shifted(torch.nn.Module):
    def forward(
        self, x: torch.Tensor, shift: torch.Tensor | None = None, scale: torch.Tensor | None = None, mode: int = 1
    ) -> torch.Tensor:
        if shift is not None:
            x = x + shift
        return x if scale is None else x * scale


class Pair(NamedTuple):
    small: torch.Tensor
    large: torch.Tensor


class Nested(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        return x, (x + 1, x + 2)


class Several(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, x + 1]


class Named(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> Pair:
        return Pair(x - 100, x + 100)


class Shout(torch.nn.Module):
    def forward(self, words: list[str]) -> list[str]:
        return [word.upper() + "!" for word in words]


@pytest.mark.parametrize("inputs", ["x y", "INPUT__0 INPUT__1", "first second"])
def test_inputs_by_name_by_index_and_by_order(models: TorchModels, four: Any, inputs: str) -> None:
    models.script(Weighted(), config_text(inputs, "OUTPUT__0 OUTPUT__1"))
    first, second = inputs.split()
    found = models.server().infer("m", {second: four * 0 + 1, first: four})
    np.testing.assert_array_equal(found["OUTPUT__0"], four + 10)
    np.testing.assert_array_equal(found["OUTPUT__1"], four - 1)


def test_an_index_goes_before_the_order(models: TorchModels, four: Any) -> None:
    models.script(Weighted(), config_text("INPUT__1 INPUT__0", "minus__1 plus__0"))
    found = models.server().infer("m", {"INPUT__0": four, "INPUT__1": four * 0})
    np.testing.assert_array_equal(found["plus__0"], found["minus__1"])
    np.testing.assert_array_equal(found["plus__0"], four)


def test_a_dict_in_and_a_dict_out(models: TorchModels, four: Any) -> None:
    models.script(OfDict(), config_text("a b", "difference sum"))
    found = models.server().infer("m", {"a": four, "b": four})
    np.testing.assert_array_equal(found["sum"], four * 2)
    np.testing.assert_array_equal(found["difference"], four * 0)


def test_keys_that_a_dict_lacks_are_told_and_the_server_goes_on(models: TorchModels, four: Any) -> None:
    models.script(OfDict(), config_text("a b", "total difference"))
    models.script(Double(), config_text(), name="good")
    server = models.server()
    with pytest.raises(InternalError, match=r"returned a dict of sum, difference, but .* total, difference"):
        server.infer("m", {"a": four, "b": four})
    np.testing.assert_array_equal(server.infer("good", {"INPUT__0": four})["OUTPUT__0"], four * 2)


@pytest.mark.parametrize("given", [(), ("shift",), ("scale",), ("shift", "scale")])
def test_arguments_with_defaults_may_be_left_out(models: TorchModels, four: Any, given: tuple[str, ...]) -> None:
    optional = "".join(tensor_text("input", name, more=", optional: true") for name in ("shift", "scale"))
    models.script(Shifted(), config_text("x", more=optional))
    sent = {"x": four, **dict.fromkeys(given, np.full_like(four, 3))}
    found = models.server().infer("m", sent)["OUTPUT__0"]
    np.testing.assert_array_equal(found, (four + 3 * ("shift" in given)) * (3 if "scale" in given else 1))


def test_an_argument_with_a_default_need_not_be_configured(models: TorchModels, four: Any) -> None:
    models.script(Shifted(), config_text("x scale"))
    found = models.server().infer("m", {"x": four, "scale": four})["OUTPUT__0"]
    np.testing.assert_array_equal(found, four * four)


def test_tuples_in_tuples_and_lists_are_flat(models: TorchModels, four: Any) -> None:
    models.script(Nested(), config_text(outputs="OUTPUT__2 OUTPUT__0"))
    models.script(Several(), config_text(outputs="one two"), name="list")
    models.script(Named(), config_text(outputs="large small"), name="named")
    server = models.server()
    np.testing.assert_array_equal(server.infer("m", {"INPUT__0": four})["OUTPUT__2"], four + 2)
    np.testing.assert_array_equal(server.infer("list", {"INPUT__0": four})["two"], four + 1)
    np.testing.assert_array_equal(server.infer("named", {"INPUT__0": four})["large"], four + 100)


def test_a_list_of_another_length_is_told(models: TorchModels, four: Any) -> None:
    models.script(Several(), config_text(outputs="one"))
    with pytest.raises(InternalError, match=r"returned 2 values, but its configuration has 1 outputs: one"):
        models.server().infer("m", {"INPUT__0": four})


@pytest.mark.parametrize(
    ("inputs", "outputs", "found"),
    [
        ("x", "OUTPUT__0", r"1 inputs are x, but the model takes 2: x, y; there is no input for argument 'y'"),
        ("x y z", "OUTPUT__0", r"3 inputs are x, y, z, but the model takes 2: x, y"),
        ("x Y", "OUTPUT__0", r"2 inputs are x, Y, but the model takes 2: x, y"),
        ("INPUT__0 INPUT__2", "OUTPUT__0", r"there is no argument for 'INPUT__2'"),
        ("x y", "a b c", r"3 outputs are a, b, c, but the model returns 2 tensors"),
        ("x y", "only", r"1 outputs are only, but the model returns 2 tensors; name those to be served OUTPUT__0"),
        ("x y", "OUTPUT__2", r"1 outputs are OUTPUT__2, but the model returns 2 tensors"),
    ],
)
def test_names_that_do_not_fit_are_refused_with_both_sides(
    models: TorchModels, inputs: str, outputs: str, found: str
) -> None:
    models.script(Weighted(), config_text(inputs, outputs))
    assert re.search(found, models.refusal())


def text_config(dims: str, batch: int) -> str:
    config = f'backend: "pytorch"\nmax_batch_size: {batch}\n'
    return config + tensor_text("input", "words", "STRING", dims) + tensor_text("output", "OUTPUT__0", "STRING", dims)


@pytest.mark.parametrize(("dims", "batch", "shape"), [("[-1]", 0, (2,)), ("[1]", 4, (2, 1)), ("[-1, 1]", 0, (2, 1))])
def test_text_in_and_out(models: TorchModels, dims: str, batch: int, shape: tuple[int, ...]) -> None:
    models.script(Shout(), text_config(dims, batch))
    server = models.server()
    found = server.infer("m", {"words": np.array(["grün", "nul\0nul"], np.object_).reshape(shape)})["OUTPUT__0"]
    assert found.shape == shape
    assert found.ravel().tolist() == ["GRüN!".encode(), b"NUL\0NUL!"]
    if batch == 0:
        empty = server.infer("m", {"words": np.empty((0, *shape[1:]), np.object_)})["OUTPUT__0"]
        assert empty.shape == (0, *shape[1:])


def test_text_that_is_not_utf8_is_the_requests_fault(models: TorchModels) -> None:
    models.script(Shout(), text_config("[1]", 4))
    with pytest.raises(InvalidArgumentError, match="input 'words' must be UTF-8"):
        models.server().infer("m", {"words": np.array([[b"\xff\xfe"]], np.object_)})


def test_text_of_several_dimensions_is_refused(models: TorchModels) -> None:
    models.script(Shout(), text_config("[3]", 4))
    assert re.search(r"'words' is TYPE_STRING with dims: \[3\].*expected dims: \[1\]", models.refusal())


def test_numbers_where_the_model_takes_text_are_refused(models: TorchModels) -> None:
    models.script(Shout(), config_text("words"))
    assert re.search("unexpected datatype TYPE_FP32 for inference input 'words'", models.refusal())


class TakesNumber(torch.nn.Module):
    def forward(self, x: torch.Tensor, power: int) -> torch.Tensor:
        return x**power


class GivesNumber(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> int:
        return x.size(0)


@pytest.mark.parametrize(
    ("module", "found"),
    [
        (TakesNumber(), r"forward takes 'power' of type int, which a request cannot give"),
        (GivesNumber(), r"forward returns int, which is no answer"),
    ],
)
def test_what_is_no_tensor_is_refused(models: TorchModels, module: torch.nn.Module, found: str) -> None:
    path = models.script(module, config_text("x" if isinstance(module, GivesNumber) else "x power"))
    text = models.refusal()
    assert re.search(found, text)
    assert str(path) in text


def test_an_output_of_another_type_is_told(models: TorchModels, four: Any) -> None:
    config = config_text(outputs="") + tensor_text("output", "OUTPUT__0", "BF16")
    models.script(Double(), config)
    server = models.server()
    text = r"output 'OUTPUT__0' of model 'm' is torch.float32 \(TYPE_FP32\), but the configuration says TYPE_BF16"
    for _ in range(2):
        with pytest.raises(InternalError, match=text):
            server.infer("m", {"INPUT__0": four})


class Embedding(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = torch.nn.Embedding(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rows(x)


def test_a_value_that_an_embedding_lacks_hits_no_other_request(models: TorchModels) -> None:
    config = f'backend: "pytorch"\nmax_batch_size: 8\n{tensor_text("input", "x", "INT64", "[1]")}'
    models.script(Embedding(), config + tensor_text("output", "OUTPUT__0", "FP32", "[1, 2]"))
    server = models.server()
    with pytest.raises(InvalidArgumentError, match=r"(?s)PyTorch execute failure: .*index out of range"):
        server.infer("m", {"x": np.array([[7]])})
    assert server.infer("m", {"x": np.array([[2]])})["OUTPUT__0"].shape == (1, 1, 2)


class Failing(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        text = "so "
        for _ in range(11):
            text = text + text
        raise RuntimeError(text + "wrong")


def test_a_failure_is_told_in_bounded_length(models: TorchModels, four: Any) -> None:
    models.script(Failing(), config_text())
    with pytest.raises(InternalError, match=r"^PyTorch execute failure: ") as failure:
        models.server().infer("m", {"INPUT__0": four})
    assert len(str(failure.value)) < MOST_TEXT + 100
    assert "wrong" in str(failure.value)
