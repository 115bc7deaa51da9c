"""Engines that load and those that do not: what their files and the configuration say, and every refusal's text."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.unit.backends.tensorrt.conftest import Engines
from tests.unit.backends.tensorrt.tensorrt_standin import MAGIC

from atoll.backends.api import Placement
from atoll.backends.tensorrt import TensorRtBackend, backend
from atoll.config.autofill import check, fill
from atoll.errors import ConfigError, MissingExtraError, UnavailableError
from atoll.tensor import DataType

ENGINE: dict[str, Any] = {
    "operation": "double",
    "inputs": {"IN": ("FLOAT", [-1, 3, -1])},
    "outputs": {"OUT": ("HALF", [-1, 3, -1])},
    "profiles": [{"IN": [[1, 3, 1], [4, 3, 4], [8, 3, 64]]}, {"IN": [[1, 3, 1], [32, 3, 4], [64, 3, 64]]}],
}


def group(more: str) -> str:
    return f'instance_group {{ name: "m_0" kind: KIND_GPU count: 1 gpus: [ 0 ] {more} }}'


def test_what_an_engine_says(engines: Engines) -> None:
    found = engines.backend.signature(engines.write(**ENGINE))
    assert [(one.name, one.data_type, one.shape) for one in found.inputs] == [("IN", DataType.FP32, (-1, 3, -1))]
    assert [(one.name, one.data_type, one.shape) for one in found.outputs] == [("OUT", DataType.FP16, (-1, 3, -1))]
    assert (found.batching, found.max_batch_size) == (True, 8)
    assert not list(engines.tensorrt.held)


def test_the_batch_size_is_that_of_the_profiles(engines: Engines) -> None:
    source = engines.write(group('profile: [ "1" ]'), **ENGINE)
    config = fill(source.config, engines.backend.signature(source), default_max_batch_size=4)
    assert config.max_batch_size == 64
    assert config.dynamic_batching is not None
    assert [(one.name, one.data_type, one.dims) for one in config.input] == [("IN", DataType.FP32, (3, -1))]
    assert not check(config, engines.backend.signature(source))


@pytest.mark.parametrize("shape", [[8, 3], [3], []])
def test_an_engine_without_a_batch_dimension(engines: Engines, shape: list[int]) -> None:
    source = engines.write(operation="double", inputs={"IN": ("FLOAT", shape)}, outputs={"OUT": ("FLOAT", shape)})
    found = engines.backend.signature(source)
    assert (found.supports_batching(), found.max_batch_size) == (False, 0)
    assert fill(source.config, found).max_batch_size == 0


def test_a_larger_batch_than_the_profiles_take(engines: Engines) -> None:
    engines.backend.load(engines.write("max_batch_size: 8", **ENGINE)).close()
    with pytest.raises(
        ConfigError,
        match=r"unable to load model 'm', configuration specified max-batch 9 but TensorRT engine only supports "
        "max-batch 8",
    ):
        engines.backend.load(engines.source("max_batch_size: 9"))
    engines.backend.load(engines.source("max_batch_size: 64 " + group('profile: [ "0", "1" ]'))).close()


def test_a_profile_that_there_is_not(engines: Engines) -> None:
    source = engines.write(group('profile: [ "2" ]'), **ENGINE)
    for ask in (engines.backend.signature, engines.backend.load):
        with pytest.raises(ConfigError, match=r"group 'm_0' of model 'm': profile '2' is not one of the engine's"):
            ask(source)
    assert not list(engines.tensorrt.held)


@pytest.mark.parametrize("name", ["FP8", "INT4"])
def test_a_type_that_the_protocol_lacks(engines: Engines, name: str) -> None:
    source = engines.write(operation="double", inputs={"IN": (name, [-1])}, outputs={"OUT": ("FLOAT", [-1])})
    with pytest.raises(ConfigError, match=f"input 'IN' of '.*model.plan' is of TensorRT's type {name}, which the"):
        engines.backend.signature(source)


VECTORS = {
    **ENGINE,
    "inputs": {"IN": ("FLOAT", [-1, 3, -1], {"layout": "Thirty-two wide channel vectorized row major format"})},
}
WRITTEN = (
    'input { name: "IN" data_type: TYPE_FP32 dims: [ 3, -1 ] is_non_linear_format_io: true } '
    'output { name: "OUT" data_type: TYPE_FP16 dims: [ 3, -1 ] }'
)


def test_other_layouts_than_the_usual_one(engines: Engines) -> None:
    source = engines.write(**VECTORS)
    with pytest.raises(
        ConfigError, match=r"input 'IN' .* has the layout 'Thirty-two wide .*' but must be linear; build"
    ):
        engines.backend.signature(source)
    with pytest.raises(ConfigError, match=r"must be linear .is_non_linear_format_io is not served here.; build"):
        engines.backend.load(engines.source(WRITTEN))
    with pytest.raises(
        ConfigError, match=r"'IN' has is_non_linear_format_io: true in the configuration, but is linear"
    ):
        engines.backend.load(engines.write(WRITTEN, **ENGINE))


SHAPES = {
    "operation": "expand",
    "inputs": {"IN": ("FLOAT", [1]), "SHAPE": ("INT32", [2], {"shape_tensor": True})},
    "outputs": {"OUT": ("FLOAT", [-1, -1]), "WAS": ("INT32", [2], {"shape_tensor": True})},
}
NOT_SAID = (
    'input { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] } '
    'input { name: "SHAPE" data_type: TYPE_INT32 dims: [ 2 ] %s } '
)


def test_shape_tensors_must_be_declared(engines: Engines) -> None:
    with pytest.raises(
        ConfigError, match=r"'SHAPE' .* is a shape tensor, which must be declared; .* dims: \[2\] is_sh"
    ):
        engines.backend.signature(engines.write(**SHAPES))
    with pytest.raises(ConfigError, match=r"'SHAPE' has is_shape_tensor: false in the configuration, but is a shape"):
        engines.backend.load(engines.source(NOT_SAID % ""))
    with pytest.raises(
        ConfigError, match=r"'IN' has is_shape_tensor: true in the configuration, but is no shape tensor"
    ):
        engines.backend.load(
            engines.source('input { name: "IN" data_type: TYPE_FP32 dims: [ 1 ] is_shape_tensor: true }')
        )


def test_an_output_shape_tensor_may_be_left_out(engines: Engines) -> None:
    config = NOT_SAID % "is_shape_tensor: true" + 'output { name: "OUT" data_type: TYPE_FP32 dims: [ -1, -1 ] }'
    engines.backend.load(engines.write(config, **SHAPES)).close()


def test_an_engine_of_another_version(engines: Engines) -> None:
    source = engines.write(version="8.6.1.6", **ENGINE)
    with pytest.raises(
        ConfigError,
        match=r"model.plan': The engine plan file is not compatible .* got 8.6.1.6, please rebuild.; an engine runs on "
        r"the kind of GPU .* here GPU 0 .Stand-in, compute capability 9.0. and TensorRT 10.16.1.11: build it here",
    ):
        engines.backend.load(source)


def test_the_operator_may_allow_version_compatible_engines(engines: Engines) -> None:
    allowed = {"version-compatible": "true"}
    engines.backend.load(engines.write(version="10.3.0", settings=allowed, **ENGINE)).close()
    wanted = 'parameters { key: "version-compatible" value { string_value: "true" } }'
    with pytest.raises(ConfigError, match=r"not compatible"):
        engines.backend.load(engines.write(wanted, version="10.3.0", **ENGINE))
    with pytest.raises(ConfigError, match=r"--backend-config=tensorrt,version-compatible=maybe is 'maybe' but must be"):
        engines.backend.load(engines.source(settings={"version-compatible": "maybe"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "model.plan'; the file is empty: export or copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\n", "the file is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "the file is a web page, not a model"),
        (b"GGUF1234", "magicTagRead == magicTag failed.; the file is a GGUF file"),
        (b"noise" * 20, "magicTagRead == magicTag failed.; an engine runs on the kind of GPU"),
        (MAGIC + b'{"version', "Engine deserialization failed.; an engine runs .* look whether the file is whole"),
    ],
)
def test_files_that_are_no_engines(engines: Engines, content: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        engines.backend.load(engines.file(content))


def test_no_file(engines: Engines) -> None:
    source = engines.write(**ENGINE)
    path = source.version_directory / "model.plan"
    path.rename(path.with_name("other.plan"))
    with pytest.raises(ConfigError, match=r"unable to find '.*model.plan' for model 'm'; found other.plan there"):
        engines.backend.signature(source)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("secondary_devices { kind: KIND_NVDLA device_id: 1 }", "names the DLA core 1, but the GPU has 1 of them"),
        ("secondary_devices { } secondary_devices { }", "names 2 secondary_devices but an engine runs on one DLA core"),
    ],
)
def test_dla_cores_that_there_are_not(engines: Engines, more: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        engines.backend.load(engines.write(group(more), **ENGINE))


def test_a_dla_core(engines: Engines) -> None:
    cores = []
    runtime = engines.tensorrt.Runtime
    original = runtime.deserialize_cuda_engine
    runtime.deserialize_cuda_engine = lambda self, content: (cores.append(self.DLA_core), original(self, content))[1]
    engines.backend.load(engines.write(group("secondary_devices { kind: KIND_NVDLA device_id: 0 }"), **ENGINE)).close()
    assert cores == [0]


def test_plugins_that_cannot_be_loaded(engines: Engines, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plugins=/nowhere/a.so names '/nowhere/a.so', which is not there"):
        engines.backend.load(engines.write(settings={"plugins": "/nowhere/a.so"}, **ENGINE))
    text = tmp_path / "b.so"
    text.write_text("no library")
    with pytest.raises(ConfigError, match=r"plugins: '.*b.so' cannot be loaded: .*; build it for TensorRT 10.16.1.11"):
        engines.backend.load(engines.write(settings={"plugins": f"{text};"}, **ENGINE))


def test_plugins_of_a_model_are_not_read(engines: Engines) -> None:
    config = 'parameters { key: "plugins" value { string_value: "/nowhere/a.so" } }'
    engines.backend.load(engines.write(config, **ENGINE)).close()


def test_a_gpu_that_there_is_not(engines: Engines) -> None:
    source = engines.write("instance_group { kind: KIND_GPU gpus: [ 7 ] }", **ENGINE)
    with pytest.raises(UnavailableError, match=r"model 'm': GPU 7 cannot be used: cuDeviceGet: CUDA error 101"):
        engines.backend.signature(source)


def test_too_old_a_tensorrt(engines: Engines) -> None:
    engines.tensorrt.__version__ = "10.0.1"
    with pytest.raises(ConfigError, match=r"needs TensorRT 10.1 or later, but 10.0.1 is installed"):
        engines.backend.load(engines.write(**ENGINE))


def test_a_driver_that_is_too_old(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(engines.cuda), "cuGraphLaunch")
    del engines.cuda.cuGraphLaunch
    with pytest.raises(UnavailableError, match=r"the CUDA driver is too old: it has no cuGraphLaunch"):
        engines.backend.load(engines.write(**ENGINE))


def test_the_server_asks_for_gpus(engines: Engines) -> None:
    assert engines.backend.gpu_support(engines.write(**ENGINE), (0, 1)).gpus == (0, 1)


def test_without_the_package(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    source = engines.write(**ENGINE)
    for ask in (engines.backend.signature, engines.backend.load, lambda one: engines.backend.gpu_support(one, (0,))):
        with pytest.raises(MissingExtraError, match=r'install it with: pip install "atoll\[tensorrt\]"'):
            ask(source)


def test_without_a_gpu(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "visible_gpus", lambda environment: ())
    source = engines.write(**ENGINE)
    for ask in (TensorRtBackend().signature, TensorRtBackend().load):
        with pytest.raises(
            UnavailableError, match=r"'m': the tensorrt backend needs an NVIDIA GPU: none is visible to th"
        ):
            ask(source)


def test_the_process_of_one_instance_sees_its_gpu_as_number_0(engines: Engines) -> None:
    engines.cuda.devices = 1  # of the group's, which are 1 and 2
    model = engines.backend.load(engines.write("instance_group { kind: KIND_GPU gpus: [ 1, 2 ] }", **ENGINE))
    model.instance(Placement("m_0_0_gpu1", "KIND_GPU", 0)).close()
    model.close()
    assert not engines.cuda.left()


def test_models_loaded_at_once_share_the_library(engines: Engines) -> None:
    source = engines.write(**ENGINE)
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(engines.backend.load, [source] * 8))
    assert engines.tensorrt.deserialized == 8
    assert engines.tensorrt.plugins_initialized == 1
    for model in models:
        model.close()


@pytest.mark.filterwarnings("error")
def test_a_driver_that_is_too_old_for_tensorrt(engines: Engines) -> None:
    engines.tensorrt.cuda_failure = "CUDA initialization failure with error: 35"
    with pytest.raises(
        ConfigError, match=r"TensorRT 10.16.1.11 does not start: CUDA initialization failure with error: 35"
    ):
        engines.backend.load(engines.write(**ENGINE))
    gc.collect()
    engines.tensorrt.cuda_failure = ""
