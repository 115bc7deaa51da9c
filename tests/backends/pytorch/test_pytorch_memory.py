"""Whose memory a tensor is: inputs are not written to, outputs are not written over, weights are there once."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.backends.config_text import parameter_text
from tests.backends.pytorch.conftest import TorchModels, config_text

from atoll.backends.api import Placement


class InPlace(torch.nn.Module):
    """Its first layer writes to what it is given, as torchvision's nets do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x.view(-1, 4)) + 1


IN_PLACE = """
class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu_(x.view(-1, 4)) + 1
"""

KEEPS = """
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.total = torch.zeros(4)

    def forward(self, x):
        self.total += x.sum(0)
        return self.total
"""


class Counter(torch.nn.Module):
    """Returns what it holds, and adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(x.sum(0))
        return self.total


class Parts(torch.nn.Module):
    """Returns what it was given, a part of it, and a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return x, x[0], self.weight


@pytest.mark.parametrize("form", ["script", "exported", "eager"])
def test_a_module_that_writes_to_its_input_writes_to_a_copy(models: TorchModels, four: Any, form: str) -> None:
    if form == "script":
        models.script(InPlace(), config_text("x"))
    elif form == "exported":
        sizes = {"x": {0: torch.export.Dim.AUTO}}
        models.exported(InPlace(), (torch.zeros(2, 4),), config_text("x"), dynamic_shapes=sizes)
    else:
        models.eager(IN_PLACE, config_text("x"))
    before = four.copy()
    with models.instance() as instance:
        for _ in range(3):
            found = instance.execute({"x": four}, ["OUTPUT__0"])["OUTPUT__0"]
            np.testing.assert_array_equal(found, np.maximum(before, 0) + 1)
            np.testing.assert_array_equal(four, before)


SOMETIMES = """
class Model(torch.nn.Module):
    def forward(self, x):
        if x[0, 0] > 0:
            return x + 0
        HOW
        return x + 0
"""


@pytest.mark.parametrize("how", ["x.neg_()", "x.data.neg_()", "x.numpy()[:] *= -1"])
def test_a_class_that_writes_to_its_input_now_and_then_never_reaches_the_clients_memory(
    models: TorchModels, four: Any, how: str
) -> None:
    models.eager(SOMETIMES.replace("HOW", how), config_text("x"))
    positive = np.abs(four) + 1
    with models.instance() as instance:
        for sent in (positive, -positive, positive, -positive):
            before = sent.copy()
            found = instance.execute({"x": sent}, ["OUTPUT__0"])["OUTPUT__0"]
            np.testing.assert_array_equal(found, positive)
            np.testing.assert_array_equal(sent, before)


@pytest.mark.parametrize("form", ["script", "exported", "eager"])
def test_what_a_module_keeps_is_returned_as_a_copy(models: TorchModels, four: Any, form: str) -> None:
    if form == "script":
        models.script(Counter(), config_text("x", batch=0).replace("dims: [4]", "dims: [-1, 4]", 1))
    elif form == "exported":
        config = config_text("x", batch=0).replace("dims: [4]", "dims: [2, 4]", 1)
        models.exported(Counter(), (torch.zeros(2, 4),), config)
    else:
        models.eager(KEEPS, config_text("x", batch=0).replace("dims: [4]", "dims: [-1, 4]", 1))
    with models.instance() as instance:
        first = instance.execute({"x": four}, ["OUTPUT__0"])["OUTPUT__0"]
        kept = first.copy()
        np.testing.assert_array_equal(kept, four.sum(0))
        second = instance.execute({"x": four}, ["OUTPUT__0"])["OUTPUT__0"]
        np.testing.assert_array_equal(second, four.sum(0) * 2)
        np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("form", ["script", "exported"])
def test_outputs_share_no_memory_with_inputs_or_weights(models: TorchModels, four: Any, form: str) -> None:
    config = config_text("x", "OUTPUT__0 OUTPUT__1 OUTPUT__2", batch=0).replace("dims: [4]", "dims: [2, 4]", 2)
    if form == "script":
        models.script(Parts(), config)
    else:
        models.exported(Parts(), (torch.zeros(2, 4),), config)
    with models.instance() as instance:
        found = instance.execute({"x": four}, ["OUTPUT__0", "OUTPUT__1", "OUTPUT__2"])
        np.testing.assert_array_equal(found["OUTPUT__1"], four[0])
        assert not any(np.shares_memory(four, one) for one in found.values())
        found["OUTPUT__2"][:] = 7
        np.testing.assert_array_equal(instance.execute({"x": four}, ["OUTPUT__2"])["OUTPUT__2"], np.ones(4))


class Large(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


LARGE = """
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return x * self.weight
"""


def modules_of(models: TorchModels, more: str, module: torch.nn.Module | None = None) -> list[Any]:
    """Those that two instances have."""
    if module is None:
        models.eager(LARGE, config_text("x", more=more), {"weight": torch.full((4,), 3.0)})
    else:
        models.script(module, config_text("x", batch=0, more=more).replace("dims: [4]", "dims: [-1, 4]", 1))
    with models.model() as model:
        taken = [model._program.modules.take("cpu") for _ in range(2)]
        for i in range(2):
            model.instance(Placement(f"m_0_{i}")).close()
        return taken


def test_instances_share_a_torchscript_module(models: TorchModels) -> None:
    first, second = modules_of(models, "", Large())
    assert first is second


def test_modules_that_change_what_they_hold_are_not_shared(models: TorchModels) -> None:
    first, second = modules_of(models, "", Counter())
    assert first.total.data_ptr() != second.total.data_ptr()


def test_weights_are_not_shared_where_the_configuration_says_so(models: TorchModels) -> None:
    first, second = modules_of(models, parameter_text("ENABLE_WEIGHT_SHARING", "false"), Large())
    assert first.weight.data_ptr() != second.weight.data_ptr()


def test_instances_of_a_class_share_its_weights_and_nothing_else(models: TorchModels) -> None:
    first, second = modules_of(models, "")
    assert first is not second
    assert first.weight is second.weight
    assert first.weight.tolist() == [3] * 4


def test_instances_of_a_class_share_all_of_it_where_the_configuration_says_so(models: TorchModels) -> None:
    first, second = modules_of(models, parameter_text("ENABLE_WEIGHT_SHARING", "true"))
    assert first is second
