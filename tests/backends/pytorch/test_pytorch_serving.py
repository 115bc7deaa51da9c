"""PyTorch's models under what the engine adds: states of sequences, a client over the network, load and unload."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
import tritonclient.http as http
from tests.backends.pytorch.conftest import TorchModels, config_text
from tests.backends.served import Serve

from atoll.backends.api import Placement


class Summing(torch.nn.Module):
    def forward(self, x: torch.Tensor, total: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + total, x + total


STATE = """
sequence_batching {
  state [{
    input_name: "STATE_IN__1", output_name: "STATE_OUT__1", data_type: TYPE_FP32, dims: [4]
    initial_state: {name: "zero", data_type: TYPE_FP32, dims: [4], zero_data: true}
  }]
}
"""


def test_states_of_sequences(models: TorchModels, four: Any) -> None:
    models.script(Summing(), config_text("INPUT__0", "OUTPUT__0", more=STATE))
    server = models.server()
    row = four[:1]
    for step in (1, 2, 3):
        sequence = {"sequence_id": 7, "sequence_start": step == 1, "sequence_end": step == 3}
        found = server.infer("m", {"INPUT__0": row}, parameters=sequence)["OUTPUT__0"]
        np.testing.assert_array_equal(found, row * step)


CODE = """
class Model(torch.nn.Module):
    def forward(self, x):
        return x * 2
"""


def test_a_client_over_the_network(models: TorchModels, serve: Serve, four: Any) -> None:
    models.script(torch.nn.ReLU(), config_text(), name="script")
    models.eager(CODE, config_text("x", "y") + "dynamic_batching {}\n", name="eager")
    server = serve(models.repository.path)
    with http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        for name, given, returned, expected in (
            ("script", "INPUT__0", "OUTPUT__0", np.maximum(four, 0)),
            ("eager", "x", "y", four * 2),
        ):
            sent = http.InferInput(given, list(four.shape), "FP32")
            sent.set_data_from_numpy(four)
            found = client.infer(name, [sent]).as_numpy(returned)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", ["exported", "eager"])
def test_a_closed_models_module_is_gone(models: TorchModels, four: Any, form: str) -> None:
    if form == "exported":
        models.exported(torch.nn.Linear(4, 4), (torch.zeros(4),), config_text("input", batch=0))
    else:
        models.eager(CODE, config_text("x", batch=0))
    with models.model() as model:
        gone = weakref.ref(model._program.modules._kept["cpu"])
        instance = model.instance(Placement("m_0_0"))
        name = "input" if form == "exported" else "x"
        instance.execute({name: four[0]}, ["OUTPUT__0"])
        instance.close()
    del model, instance
    gc.collect()
    assert gone() is None


def test_several_models_of_one_file_name_keep_apart(models: TorchModels, four: Any) -> None:
    for name, factor in (("two", "2"), ("three", "3")):
        models.eager(CODE.replace("x * 2", f"x * {factor}"), config_text("x"), name=name)
    server = models.server()
    np.testing.assert_array_equal(server.infer("two", {"x": four})["OUTPUT__0"], four * 2)
    np.testing.assert_array_equal(server.infer("three", {"x": four})["OUTPUT__0"], four * 3)
