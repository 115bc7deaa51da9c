"""Warmup: what the real server does with each kind of data, on an instance, and what it says of wrong ones.

The expected texts are those with which Triton 2.51 answered the same configurations.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.config.model_config import ModelConfig, ModelInput, ModelInstanceGroup, ModelOutput, ModelWarmup
from atoll.errors import ConfigError, InternalError, InvalidArgumentError
from atoll.execution.batching.batch import plan_batches
from atoll.execution.instance import ModelInstance
from atoll.execution.memory_pool import HostMemoryPool
from atoll.execution.warmup import MAX_SAMPLE_BYTES, WarmupSample, warmup_samples
from atoll.models.request_validation import request_spec, validate
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.tensor import DataType
from atoll.testing.fake_backend import FakeInstance

Input = ModelWarmup.Input
FIXED = [one for one in DataType if one not in (DataType.INVALID, DataType.BYTES)]


def config_of(*samples: ModelWarmup, dims: tuple[int, ...] = (2,), kind: DataType = DataType.FP32) -> ModelConfig:
    return ModelConfig(
        name="m",
        max_batch_size=8,
        input=(ModelInput(name="I", data_type=kind, dims=dims),),
        output=(ModelOutput(name="O", data_type=DataType.FP32, dims=(1,)),),
        instance_group=(ModelInstanceGroup(name="m", count=1),),
        model_warmup=samples,
    )


def sample(one: Input | None = None, **fields: Any) -> ModelWarmup:
    inputs = {} if one is None else {"I": one}
    return ModelWarmup(**{"name": "w", "batch_size": 1, "inputs": inputs, **fields})


def fp32(**source: Any) -> Input:
    return Input(**{"data_type": DataType.FP32, "dims": (2,), **source})


def samples_of(config: ModelConfig, directory: Path) -> list[WarmupSample]:
    return warmup_samples(config, directory, partial(validate, spec=request_spec(config)))


def answer(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"O": np.zeros((len(inputs["I"]), 1), np.float32)}


def instance_of(config: ModelConfig, compute: Any = answer) -> tuple[ModelInstance, FakeInstance, StatisticsRecorder]:
    statistics = StatisticsRecorder("m", "1")
    fake = FakeInstance(compute)
    return ModelInstance("m_0", fake, plan_batches(config), "1", statistics, HostMemoryPool(1 << 20)), fake, statistics


def seen(config: ModelConfig, directory: Path) -> list[Any]:
    """The input of each execution of a warmup."""
    instance, fake, _ = instance_of(config)
    instance.warm_up(samples_of(config, directory))
    return [batch["I"] for batch in fake.batches]


def data_file(directory: Path, data: bytes, name: str = "d") -> None:
    (directory / "warmup").mkdir(exist_ok=True)
    (directory / "warmup" / name).write_bytes(data)


def packed(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


# ---- what runs


def test_a_batch_of_so_many_requests_runs_so_often_and_counts(tmp_path: Path) -> None:
    config = config_of(
        sample(fp32(zero_data=True), batch_size=4, count=3), sample(fp32(random_data=True), name="second")
    )
    instance, fake, statistics = instance_of(config)
    instance.warm_up(samples_of(config, tmp_path))
    assert [batch["I"].shape for batch in fake.batches] == [(4, 2)] * 3 + [(1, 2)]
    assert not any(batch["I"].any() for batch in fake.batches[:3])
    counted = statistics.snapshot()
    assert (counted.success.count, counted.inference_count, counted.execution_count) == (13, 13, 4)
    assert [(one.batch_size, one.compute_infer.count) for one in counted.batch_stats] == [(1, 1), (4, 3)]
    assert 0 <= counted.queue.ns <= counted.success.ns < 60_000_000_000


def test_a_batch_of_none_is_skipped(tmp_path: Path) -> None:
    assert samples_of(config_of(sample(fp32(), batch_size=0)), tmp_path) == []


def test_a_model_without_batches_sees_no_batch_dimension(tmp_path: Path) -> None:
    config = replace(config_of(sample(fp32(zero_data=True))), max_batch_size=0)
    instance, fake, _ = instance_of(config, lambda inputs: {"O": np.zeros(1, np.float32)})
    instance.warm_up(samples_of(config, tmp_path))
    assert [batch["I"].shape for batch in fake.batches] == [(2,)]


@pytest.mark.parametrize("kind", FIXED)
@pytest.mark.parametrize("said", [True, False])  # that a source is named is what counts
def test_zero_and_random_data_of_every_type(tmp_path: Path, kind: DataType, said: bool) -> None:
    zero, random = (
        seen(config_of(sample(Input(data_type=kind, dims=(500,), **source)), dims=(500,), kind=kind), tmp_path)[0]
        for source in ({"zero_data": said}, {"random_data": said})
    )
    assert zero.dtype == random.dtype == kind.dtype
    assert not zero.any()
    patterns = set(np.frombuffer(random.tobytes(), f"V{kind.size}").tolist())
    assert len(patterns) == 2 if kind is DataType.BOOL else len(patterns) > 100


@pytest.mark.parametrize("source", [{"zero_data": True}, {"random_data": True}])
def test_made_up_texts_are_empty(tmp_path: Path, source: dict[str, bool]) -> None:
    one = Input(data_type=DataType.BYTES, dims=(3,), **source)
    (array,) = seen(config_of(sample(one, batch_size=2), dims=(3,), kind=DataType.BYTES), tmp_path)
    assert array.tolist() == [[b""] * 3] * 2


def test_random_data_is_the_same_each_time(tmp_path: Path) -> None:
    config = config_of(sample(fp32(random_data=True, dims=(99,))), dims=(99,))
    assert seen(config, tmp_path)[0].tobytes() == seen(config, tmp_path)[0].tobytes()


@pytest.mark.parametrize("rest", [b"", b"more than needed"])
def test_every_request_of_a_batch_has_the_files_data(tmp_path: Path, rest: bytes) -> None:
    data_file(tmp_path, struct.pack("<2f", 1.5, -2) + rest)
    (array,) = seen(config_of(sample(fp32(input_data_file="d"), batch_size=3)), tmp_path)
    assert array.tolist() == [[1.5, -2.0]] * 3


def test_texts_from_a_file(tmp_path: Path) -> None:
    data_file(tmp_path, packed(b"ab", b"\xff"), "texts")
    one = Input(data_type=DataType.BYTES, dims=(2,), input_data_file="texts")
    (array,) = seen(config_of(sample(one, batch_size=2), kind=DataType.BYTES), tmp_path)
    assert array.tolist() == [[b"ab", b"\xff"]] * 2


def test_sizes_may_be_zero(tmp_path: Path) -> None:
    (array,) = seen(config_of(sample(fp32(dims=(0,), zero_data=True)), dims=(-1,)), tmp_path)
    assert array.shape == (1, 0)


def test_what_is_no_input_of_the_model_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = fp32(zero_data=True)
    (array,) = seen(config_of(sample(inputs={"I": one, "K": one})), tmp_path)
    assert array.shape == (1, 2)
    assert "model_warmup[0].inputs[K] is not an input of the model" in caplog.text


@given(
    st.integers(1, 8),
    st.integers(0, 3),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.sampled_from([{"zero_data": True}, {"random_data": True}]),
    st.sampled_from([*FIXED, DataType.BYTES]),
)
@settings(max_examples=80, deadline=None)
def test_any_sample_that_fits_runs(
    batch: int, count: int, dims: list[int], source: dict[str, bool], kind: DataType
) -> None:
    shape = tuple(dims)
    one = Input(data_type=kind, dims=shape, **source)
    config = config_of(sample(one, batch_size=batch, count=count), dims=(-1,) * len(shape), kind=kind)
    arrays = seen(config, Path("/nonexistent"))
    assert [array.shape for array in arrays] == [(batch, *shape)] * max(count, 1)


# ---- what fails


def problem_of(config: ModelConfig, directory: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        samples_of(config, directory)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def test_a_misspelt_input_is_told_of(tmp_path: Path) -> None:
    text = problem_of(config_of(sample(inputs={"i": fp32(zero_data=True)})), tmp_path)
    assert text.endswith("Found 'i'; expected the model's inputs: 'I'. Did you mean 'I'?")


def test_a_missing_file(tmp_path: Path) -> None:
    text = problem_of(config_of(sample(fp32(input_data_file="d"))), tmp_path)
    assert f"failed to open text file for read {tmp_path}/warmup/d: No such file or directory" in text
    assert "model 'm': model_warmup[0].inputs[I]: " in text


def test_a_file_that_is_too_short(tmp_path: Path) -> None:
    data_file(tmp_path, b"1234567")
    text = problem_of(config_of(sample(fp32(input_data_file="d"))), tmp_path)
    expected = "[request id: <id_unknown>] warmup setting expects 8 bytes, but the data provided from donly has 7 bytes"
    assert expected in text


@pytest.mark.parametrize("name", ["../d", "/etc/hostname", "", "a/../../d", ".", "a\0b"])
def test_files_are_the_models_own(tmp_path: Path, name: str) -> None:
    (tmp_path / "d").write_bytes(bytes(8))
    data_file(tmp_path, bytes(8))
    text = problem_of(config_of(sample(fp32(input_data_file=name))), tmp_path)
    assert f"does not name a file inside {tmp_path}/warmup" in text


def test_a_folder_or_a_pipe_is_no_file(tmp_path: Path) -> None:
    data_file(tmp_path, b"")
    (tmp_path / "warmup" / "folder").mkdir()
    os.mkfifo(tmp_path / "warmup" / "pipe")
    for name in ("folder", "pipe"):
        text = problem_of(config_of(sample(fp32(input_data_file=name))), tmp_path)
        assert f"failed to open text file for read {tmp_path}/warmup/{name}: " in text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (packed(b"ab"), "expected 2 string elements for inference input 'I' for model 'm', got 1"),
        (
            packed(b"a", b"b", b"c"),
            "unexpected number of string elements 3 for inference input 'I' for model 'm', expecting 2",
        ),
        (
            packed(b"abc") + b"\x05",
            "incomplete string length indicator for inference input 'I' for model 'm', expecting 4 bytes but only 1 "
            "bytes available. Please make sure the string length indicator is in one buffer.",
        ),
        (b"abcdefgh", "incomplete string data for inference input 'I', expecting string of length 1684234849"),
    ],
)
def test_texts_that_lie(tmp_path: Path, data: bytes, expected: str) -> None:
    data_file(tmp_path, data)
    one = Input(data_type=DataType.BYTES, dims=(2,), input_data_file="d")
    text = problem_of(config_of(sample(one), kind=DataType.BYTES), tmp_path)
    assert f"[request id: <id_unknown>] {expected}" in text


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (fp32(), "[request id: <id_unknown>] warmup setting expects input 'I' to have input_data_type set"),
        (
            fp32(dims=(-1,), zero_data=True),
            "warmup setting expects all variable-size dimensions are specified for input 'I'",
        ),
        (
            fp32(dims=(3,), zero_data=True),
            "[request id: <id_unknown>] unexpected shape for input 'I' for model 'm'. Expected [-1,2], got [1,3]. NOTE",
        ),
        (
            fp32(data_type=DataType.INT32, zero_data=True),
            "[request id: <id_unknown>] inference input 'I' data-type is 'INT32', but model 'm' expects 'FP32'",
        ),
        (
            fp32(data_type=DataType.INVALID, zero_data=True),
            "[request id: <id_unknown>] inference input 'I' data-type is '<invalid>', but model 'm' expects 'FP32'",
        ),
        (
            None,
            "[request id: <id_unknown>] expected 1 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing "
            "required input(s) ['I']. Please provide all required input(s).",
        ),
    ],
)
def test_samples_that_do_not_fit(tmp_path: Path, one: Input | None, expected: str) -> None:
    assert expected in problem_of(config_of(sample(one)), tmp_path)


@pytest.mark.parametrize(("max_batch_size", "batch_size"), [(8, 16), (0, 3), (8, (1 << 32) - 1)])
def test_a_batch_that_is_too_large(tmp_path: Path, max_batch_size: int, batch_size: int) -> None:
    config = replace(config_of(sample(fp32(zero_data=True), batch_size=batch_size)), max_batch_size=max_batch_size)
    text = problem_of(config, tmp_path)
    assert f"batch size {batch_size} for 'm_0', max allowed is {max_batch_size}" in text
    assert "model_warmup[0].batch_size: failed to run warmup sample 'w': " in text


@pytest.mark.parametrize("dims", [(1 << 62,), (1 << 40, 1 << 40), (MAX_SAMPLE_BYTES // 4 + 1,)])
@pytest.mark.parametrize("source", [{"zero_data": True}, {"random_data": True}, {"input_data_file": "d"}])
def test_data_that_no_memory_holds(tmp_path: Path, dims: tuple[int, ...], source: dict[str, Any]) -> None:
    one = fp32(dims=dims, **source)
    text = problem_of(config_of(sample(one), dims=(-1,) * len(dims)), tmp_path)
    assert f"warmup sample 'w' is too large with its input 'I' of {4 * int(np.prod(dims, dtype=object))} bytes" in text


def test_a_hole_in_a_file_is_not_read_into_memory(tmp_path: Path) -> None:
    data_file(tmp_path, b"")
    os.truncate(tmp_path / "warmup" / "d", 1 << 40)
    one = Input(data_type=DataType.BYTES, dims=(2,), input_data_file="d")
    assert "too large" in problem_of(config_of(sample(one), kind=DataType.BYTES), tmp_path)


def test_many_samples_do_not_add_up_to_more_than_is_allowed(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("atoll.execution.warmup.MAX_DATA_BYTES", 1000)
    data_file(tmp_path, bytes(400))
    file, shared = fp32(dims=(100,), input_data_file="d"), fp32(dims=(100,), random_data=True)
    assert len(samples_of(config_of(*[sample(file)] * 2, dims=(100,)), tmp_path)) == 2
    assert len(samples_of(config_of(*[sample(shared)] * 9, dims=(100,)), tmp_path)) == 9
    text = problem_of(config_of(*[sample(file)] * 3, dims=(100,)), tmp_path)
    assert "model_warmup[2].inputs[I]: the data of the warmup samples is too large" in text


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    samples: Sequence[ModelWarmup] = (
        sample(fp32()),
        sample(fp32(zero_data=True), batch_size=9),
        sample(fp32(zero_data=True)),
        sample(fp32(zero_data=True, dims=(5,))),
    )
    with pytest.raises(ConfigError) as caught:
        samples_of(config_of(*samples), tmp_path)
    assert [one.path for one in caught.value.problems] == [
        "model_warmup[0].inputs[I]",
        "model_warmup[1].batch_size",
        "model_warmup[3].inputs",
    ]


def fail(error: Exception) -> Any:
    def compute(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        raise error

    return compute


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InternalError("I fail"), "failed to run warmup sample 'w': I fail"),
        (InvalidArgumentError("not these values"), "failed to run warmup sample 'w': not these values"),
        (RuntimeError("out of everything"), "failed to run warmup sample 'w': RuntimeError: out of everything"),
    ],
)
def test_a_sample_that_the_model_fails_on(tmp_path: Path, error: Exception, text: str) -> None:
    config = config_of(sample(fp32(zero_data=True), batch_size=4, count=3))
    instance, _, statistics = instance_of(config, fail(error))
    with pytest.raises(ConfigError) as caught:
        instance.warm_up(samples_of(config, tmp_path))
    assert str(caught.value) == text
    assert [one.path for one in caught.value.problems] == ["model_warmup[0]"]
    assert statistics.snapshot().fail.count == 4  # no second round


def test_a_warmup_leaves_nothing_in_the_pool(tmp_path: Path) -> None:
    config = config_of(sample(fp32(random_data=True, dims=(1 << 15,)), batch_size=4), dims=(-1,))
    pool = HostMemoryPool(1 << 20)
    used: list[int] = []

    def compute(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        used.append(pool.used_bytes)
        return answer(inputs)

    fake = FakeInstance(compute)
    instance = ModelInstance("m_0", fake, plan_batches(config), "1", StatisticsRecorder("m", "1"), pool)
    instance.warm_up(samples_of(config, tmp_path))
    assert used == [4 * 4 << 15]
    fake.batches.clear()
    assert pool.used_bytes == 0
