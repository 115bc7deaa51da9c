"""What a backend of arrays says of its models before they are loaded, and what becomes of it."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import atoll
from atoll.backends import registry
from atoll.backends.api import GpuSupport

BACKEND = '''
import os
from pathlib import Path

from atoll.backends.api import Capabilities, GpuSupport
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError
from atoll.tensor import DataType


class Backend:
    """OUT = 2 * IN; the file holds the tensors' type, or nothing, and where there is one, the batch's dimension."""

    name = "answering"
    capabilities = Capabilities(bounded=True)
    default_model_filename = "model.pt"
    default_instance_count = 1
    support = GpuSupport()
    runs_model_code = True

    def __init__(self):
        self.signatures_in = []
        self.loaded = []

    def signature(self, source):
        Path(source.model_directory, "asked_in").write_text(str(os.getpid()))
        name = source.config.runtime or source.config.default_model_filename or "model.pt"
        words = (source.version_directory / name).read_text().split()
        if words == ["broken"]:
            raise ConfigError(f"{source.version_directory} is broken")
        if not words:
            return None
        type = DataType[words[0]]
        shape = None if words[1] == "?" else tuple(map(int, words[1].split(",")))
        return ModelSignature(
            inputs=(TensorSignature(name="IN", data_type=type, shape=shape),),
            outputs=(TensorSignature(name="OUT", data_type=type, shape=shape),),
        )

    def gpu_support(self, source, gpus):
        return self.support

    def load(self, source):
        self.loaded.append(source)
        return Model(self)


class Model:
    def __init__(self, backend):
        self.placements = []
        if hasattr(backend, "model_bounded"):
            self.bounded = backend.model_bounded

    def instance(self, placement):
        places.append(f"{placement.name} {placement.kind} {placement.device_id}")
        return self

    def execute(self, inputs, output_names):
        return {"OUT": inputs["IN"] * 2}

    def close(self):
        pass


places = []
'''
TENSORS = "input [{ name: 'IN' data_type: TYPE_FP32 dims: 4 }]\noutput [{ name: 'OUT' data_type: TYPE_FP32 dims: 4 }]\n"


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The backend, found as "pytorch" is: under its name, with its files' names."""
    site = tmp_path / "site"
    info = site / "answering-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: answering\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[atoll.backends]\nanswering = answering_backend:Backend\n")
    (site / "answering_backend.py").write_text(BACKEND)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "answering_backend", raising=False)
    made = registry.find_backend("answering")
    monkeypatch.setitem(registry._made, "pytorch", made)
    yield made
    registry._made.pop("answering", None)
    sys.modules.pop("answering_backend", None)


def write(repository: Path, config: str, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = repository / "m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (repository / "m" / "config.pbtxt").write_text(config)
    return repository


def problems_of(repository: Path, **options: Any) -> str:
    with pytest.raises(atoll.ConfigError) as caught:
        atoll.Server(repository, **options).start()
    return str(caught.value)


def test_the_file_says_the_types(tmp_path: Path, backend: Any) -> None:
    write(tmp_path / "r", 'backend: "answering"', {"1/model.pt": "FP32 -1,4"})
    with atoll.Server(tmp_path / "r") as server:
        config = server.model("m").config
        assert server.infer("m", {"IN": np.ones((2, 4), np.float32)})["OUT"].tolist() == [[2] * 4] * 2
    assert (config.max_batch_size, config.input[0].dims) == (4, (4,))


def test_a_type_that_the_file_does_not_say_is_the_configurations(tmp_path: Path, backend: Any) -> None:
    write(tmp_path / "r", f'backend: "answering"\n{TENSORS}', {"1/model.pt": "INVALID ?"})
    with atoll.Server(tmp_path / "r") as server:
        assert server.infer("m", {"IN": np.ones(4, np.float32)})["OUT"].tolist() == [2] * 4


def test_a_type_that_nobody_says_is_asked_for(tmp_path: Path, backend: Any) -> None:
    write(tmp_path / "r", 'backend: "answering"', {"1/model.pt": "INVALID ?"})
    text = problems_of(tmp_path / "r")
    assert "model input 'IN' must specify 'data_type' for m" in text
    assert "model output 'OUT' must specify 'dims' for m" in text


def test_a_wrong_name_is_told_beside_tensors_of_unknown_type(tmp_path: Path, backend: Any) -> None:
    write(tmp_path / "r", f'backend: "answering"\n{TENSORS.replace("OUT", "OTU")}', {"1/model.pt": "INVALID ?"})
    text = problems_of(tmp_path / "r")
    assert "unexpected inference output 'OTU', allowed outputs are: OUT" in text
    assert "OUT of unknown type of unknown shape" in text


def test_in_a_process_the_file_is_looked_at_in_a_process(tmp_path: Path, backend: Any) -> None:
    config = 'backend: "answering"\nparameters { key: "isolation" value { string_value: "process" } }'
    write(tmp_path / "r", config, {"1/model.pt": "FP32 -1,4"})
    with atoll.Server(tmp_path / "r") as server:
        assert server.model("m").config.input[0].dims == (4,)
        assert server.infer("m", {"IN": np.ones((1, 4), np.float32)})["OUT"].tolist() == [[2] * 4]
    assert (tmp_path / "r" / "m" / "asked_in").read_text() != str(os.getpid())
    assert not backend.loaded


@pytest.mark.parametrize("text", ["", "FP16 ?", "BYTES -1,3,-1"])
def test_what_the_process_says_is_what_the_backend_says(text: str, tmp_path: Path, backend: Any) -> None:
    inputs = TENSORS.replace("TYPE_FP32", "TYPE_STRING" if "BYTES" in text else "TYPE_FP16")
    inputs = inputs.replace("dims: 4", "dims: [-1, 3, -1]")
    found = []
    for isolation in ("thread", "process"):
        config = f'backend: "answering"\nparameters {{ key: "isolation" value {{ string_value: "{isolation}" }} }}\n'
        repository = write(tmp_path / isolation, config + inputs, {"1/model.pt": text})
        with atoll.Server(repository) as server:
            config_now = server.model("m").config
        found.append((config_now.input, config_now.output, config_now.max_batch_size))
    assert found[0] == found[1]


def test_in_a_process_a_broken_file_is_an_error_of_the_model(tmp_path: Path, backend: Any) -> None:
    config = 'backend: "answering"\nparameters { key: "isolation" value { string_value: "process" } }'
    write(tmp_path / "r", config, {"1/model.pt": "broken"})
    assert "1 is broken" in problems_of(tmp_path / "r")


@pytest.mark.parametrize(
    ("support", "group", "expected"),
    [
        (GpuSupport((0, 1)), "", ["m_0_gpu0 KIND_GPU 0", "m_1_gpu1 KIND_GPU 1"]),
        (GpuSupport((1,)), "", ["m_0_gpu1 KIND_GPU 1"]),
        (GpuSupport(missing="no CUDA build"), "", ["m_0 KIND_CPU 0"]),
        (GpuSupport((0, 1)), "kind: KIND_CPU count: 2", ["m_0_0 KIND_CPU 0", "m_0_1 KIND_CPU 0"]),
        (GpuSupport((0, 1)), "kind: KIND_MODEL", ["m_0_0 KIND_MODEL 0"]),
        (GpuSupport((0, 1)), "kind: KIND_GPU gpus: 1 count: 2", ["m_0_0_gpu1 KIND_GPU 1", "m_0_1_gpu1 KIND_GPU 1"]),
        (GpuSupport((0, 1)), "gpus: 1", ["m_0_0_gpu1 KIND_GPU 1"]),
    ],
)
def test_instances_are_where_the_backend_can_be(
    support: GpuSupport,
    group: str,
    expected: list[str],
    tmp_path: Path,
    backend: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend.support = support
    monkeypatch.setattr("atoll.models.fleet.visible_gpus", lambda environment: (0, 1))
    groups = f"instance_group [{{ {group} }}]" if group else ""
    write(tmp_path / "r", f'backend: "answering"\n{groups}', {"1/model.pt": "FP32 -1,4"})
    places = sys.modules["answering_backend"].places
    places.clear()
    with atoll.Server(tmp_path / "r"):
        assert sorted(places) == expected


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("instance_group [{ kind: KIND_GPU }]", "has kind KIND_GPU but no GPUs are available"),
        ("instance_group [{ kind: KIND_GPU gpus: [0] }]", "specifies invalid or unsupported gpu id 0"),
    ],
)
def test_why_there_is_no_gpu_for_it_is_said(
    groups: str, said: str, tmp_path: Path, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.support = GpuSupport(missing="this build of it is for CPUs: install the one for CUDA")
    monkeypatch.setattr("atoll.models.fleet.visible_gpus", lambda environment: (0, 1))
    write(tmp_path / "r", f'backend: "answering"\n{groups}', {"1/model.pt": "FP32 -1,4"})
    text = problems_of(tmp_path / "r")
    assert said in text
    assert "this build of it is for CPUs: install the one for CUDA" in text


def test_a_backend_that_says_nothing_of_gpus_is_on_none(
    tmp_path: Path, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.models.fleet.visible_gpus", lambda environment: (0,))
    monkeypatch.delattr(type(backend), "gpu_support")
    write(tmp_path / "r", 'backend: "answering"\ninstance_group [{ kind: KIND_GPU }]', {"1/model.pt": "FP32 -1,4"})
    assert "the answering backend runs on CPUs only" in problems_of(tmp_path / "r")


@pytest.mark.parametrize("bounded", [True, False])
def test_a_model_says_itself_whether_it_is_bounded(bounded: bool, tmp_path: Path, backend: Any) -> None:
    backend.model_bounded = bounded
    write(tmp_path / "r", 'backend: "answering"', {"1/model.pt": "FP32 -1,4"})
    with atoll.Server(tmp_path / "r") as server:
        for _ in range(50):
            server.infer("m", {"IN": np.ones((1, 4), np.float32)})
        driven = server.statistics("m")[0].driven_by_submitter
    assert (driven > 0) is bounded


class TestFilesOfSeveralNames:
    def test_each_version_has_the_file_that_is_there(self, tmp_path: Path, backend: Any) -> None:
        files = {"1/model.pt": "FP32 -1,4", "2/model.pt2": "FP32 -1,4", "3/model.pt2": "FP32 -1,4"}
        write(tmp_path / "r", 'backend: "pytorch"\nversion_policy { all {} }', files)
        with atoll.Server(tmp_path / "r") as server:
            found = {version: server.model("m", version).config.default_model_filename for version in "123"}
        assert found == {"1": "model.pt", "2": "model.pt2", "3": "model.pt2"}

    def test_the_default_one_comes_first(self, tmp_path: Path, backend: Any) -> None:
        write(tmp_path / "r", "", {"1/model.pt": "FP32 -1,4", "1/model.pt2": "broken"})
        with atoll.Server(tmp_path / "r") as server:
            assert server.model("m").config.backend == "pytorch"

    def test_what_is_configured_counts(self, tmp_path: Path, backend: Any) -> None:
        config = 'backend: "pytorch" default_model_filename: "mine.bin"'
        write(tmp_path / "r", config, {"1/mine.bin": "FP32 -1,4", "1/model.pt": "broken"})
        with atoll.Server(tmp_path / "r") as server:
            assert server.model("m").config.default_model_filename == "mine.bin"


def test_a_backend_that_runs_models_code_gets_model_py(tmp_path: Path, backend: Any) -> None:
    write(tmp_path / "r", 'backend: "answering"\nruntime: "model.py"', {"1/model.py": "FP32 -1,4"})
    with atoll.Server(tmp_path / "r") as server:
        config = server.model("m").config
    assert (config.runtime, config.default_model_filename) == ("model.py", "")


def test_to_any_other_it_is_a_python_based_backend(
    tmp_path: Path, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(backend), "runs_model_code", False)
    write(tmp_path / "r", 'backend: "answering"\nruntime: "model.py"', {"1/model.py": "FP32 -1,4"})
    assert "unable to find Python backend based backend library 'model.py'" in problems_of(tmp_path / "r")


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        (("default-max-batch-size=16",), 16),
        ((",default-max-batch-size=16",), 16),
        (("default-max-batch-size=16", "answering,default-max-batch-size=2"), 2),
        (("other,default-max-batch-size=2",), 4),
    ],
)
def test_the_default_batch_size_can_be_that_of_all_backends(
    settings: tuple[str, ...], size: int, tmp_path: Path, backend: Any
) -> None:
    write(tmp_path / "r", 'backend: "answering"', {"1/model.pt": "FP32 -1,4"})
    with atoll.Server(tmp_path / "r", backend_config=settings) as server:
        assert server.model("m").config.max_batch_size == size


def test_a_wrong_default_of_all_backends_is_told(tmp_path: Path, backend: Any) -> None:
    write(tmp_path / "r", 'backend: "answering"', {"1/model.pt": "FP32 -1,4"})
    with pytest.raises(atoll.AtollError, match="--backend-config=default-max-batch-size=x: expected a whole number"):
        atoll.Server(tmp_path / "r", backend_config=("default-max-batch-size=x",)).start()
