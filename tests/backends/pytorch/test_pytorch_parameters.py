"""What parameters do: threads, modes, compilation, and which instances an event loop's thread may drive."""

import logging
import threading
from typing import Any

import numpy as np
import pytest
import torch
from tests.backends.config_text import parameter_text
from tests.backends.pytorch.conftest import TorchModels, config_text

from atoll.backends.api import Placement
from atoll.backends.pytorch.settings import ModelSettings
from atoll.backends.pytorch.threads import DEFAULT, THIS_THREAD, ProcessSettings
from atoll.devices.host_policy import HostPolicy

THREADS = """
class Model(torch.nn.Module):
    def forward(self, x):
        modes = [torch.get_num_threads(), torch.is_inference_mode_enabled(), torch.is_grad_enabled(), x.size(0)]
        return torch.tensor(modes, dtype=torch.float32)
"""
ROWS = torch.export.Dim.AUTO


def modes(models: TorchModels, more: str, name: str = "m", placement: Placement | None = None) -> list[float]:
    """How many threads an execution has, and in which modes it is, on a thread of its own."""
    config = config_text("x", batch=0, more=more).replace("dims: [4]", "dims: [-1, 4]", 1)
    models.eager(THREADS, config, name=name)
    found: list[float] = []
    with models.model(name) as model:
        instance = model.instance(placement or Placement("m_0_0"))

        def execute() -> None:
            found.extend(instance.execute({"x": np.zeros((1, 4), np.float32)}, ["OUTPUT__0"])["OUTPUT__0"].tolist())

        thread = threading.Thread(target=execute)
        thread.start()
        thread.join()
        instance.close()
    return found


def test_threads_are_the_models_own(models: TorchModels) -> None:
    default = DEFAULT.count(torch)
    assert modes(models, parameter_text("INTRA_OP_THREAD_COUNT", "3"), "three")[0] == 3
    assert modes(models, parameter_text("NUM_THREADS", "5"), "five")[0] == 5
    several = modes(models, "instance_group [{count: 2, kind: KIND_CPU}]\n", "several")
    assert several[0] == max(1, default // 2)
    policy = Placement("m_0_0", policy=HostPolicy("one", frozenset({0})))
    assert modes(models, "", "bound", policy)[0] == 1


def test_a_thread_that_drives_several_models_takes_the_number_of_each(models: TorchModels, four: Any) -> None:
    for name, count in (("one", "1"), ("three", "3")):
        models.eager(THREADS, config_text("x", batch=0, more=parameter_text("INTRA_OP_THREAD_COUNT", count)), name=name)
    models.eager(THREADS, config_text("x", batch=0), name="default")
    array = np.zeros(4, np.float32)
    with models.instance("one") as one, models.instance("three") as three, models.instance("default") as default:
        found = [run.execute({"x": array}, ["OUTPUT__0"])["OUTPUT__0"][0] for run in (one, three, default, three, one)]
        default.execute({"x": array}, ["OUTPUT__0"])
    assert found == [1, 3, DEFAULT.count(torch), 3, 1]
    assert THIS_THREAD.count == 0


def test_inference_mode_is_on_and_can_be_left_out(models: TorchModels) -> None:
    assert modes(models, "", "on")[1:] == [1, 0, 1]
    assert modes(models, parameter_text("INFERENCE_MODE", "false"), "off")[1:] == [0, 0, 1]


class Product(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4, bias=False)
        torch.nn.init.constant_(self.layer.weight, 1.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_autocast_in_a_program_of_fixed_types_is_refused(models: TorchModels) -> None:
    models.exported(Product(), (torch.zeros(4),), config_text("x", batch=0, more=parameter_text("AUTOCAST", "bf16")))
    assert "the types inside a program of torch.export are fixed" in models.refusal()


EAGER_PRODUCT = """
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4, bias=False)
        torch.nn.init.constant_(self.layer.weight, 1.001)

    def forward(self, x):
        return self.layer(x)
"""


@pytest.mark.parametrize("form", ["script", "eager"])
def test_autocast_computes_in_bf16(models: TorchModels, form: str) -> None:
    config = config_text("x", more=parameter_text("AUTOCAST", "bf16"))
    if form == "script":
        models.script(Product(), config)
    else:
        models.eager(EAGER_PRODUCT, config)
    with models.instance() as instance:
        found = instance.execute({"x": np.ones((1, 4), np.float32)}, ["OUTPUT__0"])["OUTPUT__0"]
    np.testing.assert_array_equal(found, np.full((1, 4), 4.0))  # 4.004 has no place in bf16


def test_optimized_execution_can_be_disabled(models: TorchModels, four: Any) -> None:
    models.script(Product(), config_text("x", more=parameter_text("DISABLE_OPTIMIZED_EXECUTION", "true")))
    with models.instance() as instance:
        for _ in range(3):
            found = instance.execute({"x": four}, ["OUTPUT__0"])["OUTPUT__0"]
            np.testing.assert_allclose(found, four.sum(1, keepdims=True).repeat(4, 1) * 1.001, rtol=1e-5)


COMPILED = """
class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) if torch.compiler.is_compiling() else x
"""


@pytest.mark.parametrize(
    ("parameter", "compiles"),
    [
        ("", False),
        (
            parameter_text("TORCH_COMPILE_OPTIONAL_PARAMETERS", '{\\"backend\\": \\"eager\\", \\"dynamic\\": true}'),
            True,
        ),
        (parameter_text("TORCH_COMPILE_OPTIONAL_PARAMETERS", '{\\"disable\\": true}'), False),
    ],
)
def test_a_class_is_compiled_where_that_is_asked_for(
    models: TorchModels, four: Any, parameter: str, compiles: bool
) -> None:
    models.eager(COMPILED, config_text("x", more=parameter))
    with models.model() as model:
        instance = model.instance(Placement("m_0_0"))
        found = instance.execute({"x": four}, ["OUTPUT__0"])["OUTPUT__0"]
        np.testing.assert_array_equal(found, np.maximum(four, 0) if compiles else four)
        assert not model.bounded
        instance.close()


def test_an_exported_program_can_be_compiled(models: TorchModels, four: Any) -> None:
    more = parameter_text("TORCH_COMPILE_OPTIONAL_PARAMETERS", '{\\"backend\\": \\"aot_eager\\"}')
    sizes = {"input": {0: ROWS}}
    models.exported(torch.nn.ReLU(), (torch.zeros(2, 4),), config_text("input", more=more), dynamic_shapes=sizes)
    with models.model() as model:
        instance = model.instance(Placement("m_0_0"))
        found = instance.execute({"input": four}, ["OUTPUT__0"])["OUTPUT__0"]
        np.testing.assert_array_equal(found, np.maximum(four, 0))
        assert not model.bounded
        instance.close()


def test_torchscript_is_not_compiled(models: TorchModels) -> None:
    models.script(torch.nn.ReLU(), config_text(more=parameter_text("TORCH_COMPILE", "true")))
    assert "torch.compile does not take TorchScript; leave TORCH_COMPILE out" in models.refusal()


def test_what_runs_no_python_of_the_users_is_bounded(models: TorchModels) -> None:
    models.script(torch.nn.ReLU(), config_text())
    models.exported(torch.nn.ReLU(), (torch.zeros(4),), None, name="exported")
    for name in ("m", "exported"):
        with models.model(name) as model:
            assert model.bounded


def test_the_module_chooses_where_it_is(models: TorchModels, four: Any) -> None:
    models.script(torch.nn.ReLU(), config_text(more="instance_group [{kind: KIND_MODEL}]\n"))
    np.testing.assert_array_equal(models.server().infer("m", {"INPUT__0": four})["OUTPUT__0"], np.maximum(four, 0))


def test_models_that_disagree_on_what_the_process_has_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    settings = ProcessSettings()
    calls: list[bool] = []
    fake = type("Torch", (), {"_C": type("C", (), {"_jit_set_profiling_mode": staticmethod(calls.append)})})
    with caplog.at_level(logging.WARNING):
        for model, on in (("a", True), ("b", True), ("c", False)):
            settings.apply(fake, model, ModelSettings(process_switches={"ENABLE_JIT_PROFILING": on}))
    assert calls == [True, False]
    assert [one.getMessage() for one in caplog.records] == [
        "model 'c' sets parameter 'ENABLE_JIT_PROFILING' to False for the whole process, where model 'b' had set True"
    ]
