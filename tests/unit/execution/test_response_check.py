"""What is said once of answers that do not fit their model's configuration."""

import numpy as np
import pytest

from atoll.config.model_config import ModelConfig, ModelOutput
from atoll.execution.batching.batch import plan_batches
from atoll.execution.response_check import ResponseCheck
from atoll.tensor import DataType, Tensor


@pytest.fixture
def check() -> ResponseCheck:
    outputs = (
        ModelOutput(name="A", data_type=DataType.FP32, dims=(-1,)),
        ModelOutput(name="B", data_type=DataType.FP32, dims=(2,)),
    )
    return ResponseCheck(plan_batches(ModelConfig(name="m", output=outputs)))


def tensor(name: str, *values: float, data_type: type = np.float32) -> Tensor:
    return Tensor.from_numpy(name, np.array(values, data_type))


def test_what_fits_is_no_surprise(check: ResponseCheck) -> None:
    outputs = [tensor("A", 1), tensor("B", 1, 2)]
    assert check.surprise(outputs) == ""
    assert check.surprise(outputs, ()) == ""


def test_each_output_that_does_not_fit_is_told_of_once(check: ResponseCheck) -> None:
    wrong = [tensor("A", 1, data_type=np.int64), tensor("B", 1, 2, 3)]
    assert "output 'A' of model 'm' is TYPE_INT64 [1], its configuration says TYPE_FP32 [-1]" in check.surprise(wrong)
    assert "output 'B' of model 'm' is TYPE_FP32 [3], its configuration says TYPE_FP32 [2]" in check.surprise(wrong)
    assert check.surprise(wrong) == ""


def test_an_output_that_the_configuration_does_not_have(check: ResponseCheck) -> None:
    assert "model 'm' answers with an output 'Z' that its configuration does not have; it has A, B" in check.surprise(
        [tensor("Z", 1)]
    )


def test_each_output_that_is_missing_is_told_of_once(check: ResponseCheck) -> None:
    assert check.surprise([tensor("A", 1)], ()) == "model 'm' has answered without the output 'B'; it is sent as it is"
    assert check.surprise([tensor("A", 1)], ()) == ""
    assert check.surprise([], ()) == "model 'm' has answered without the output 'A'; it is sent as it is"
    assert check.surprise([], ()) == ""


def test_what_the_client_did_not_ask_for_is_not_missing(check: ResponseCheck) -> None:
    assert check.surprise([tensor("A", 1)], ("A",)) == ""
    assert "without the output 'B'" in check.surprise([], ("B",))
