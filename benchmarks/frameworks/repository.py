"""Writes the nets' files, each once, and lays out the repositories of them."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.frameworks.plan import LARGEST_BATCH, Subject
from benchmarks.plan import Tensor
from benchmarks.servers import ServerError, parameter_lines

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CACHE = ROOT / "benchmarks" / ".cache"
# What writes the files: when it changes they are written anew.
SOURCES = (
    ROOT / "benchmarks" / "make_models.py",
    Path(__file__).parent / "export.py",
    *sorted((EXAMPLES / "networks").glob("*.py")),
)
_PACKAGES = ("torch", "tensorflow", "tensorflow-cpu", "openvino", "jax")


def onnx_file(net: str) -> Path:
    """The ONNX file that a net's other formats are made from."""
    if net == "digits":
        return EXAMPLES / "models" / "digits_cnn" / "1" / "model.onnx"
    return CACHE / "onnx" / f"{net}.onnx"


def tree_file(subject: Subject) -> Path:
    """Trees are served as the examples have them."""
    return EXAMPLES / "frameworks" / f"digits_{subject.format.name}" / "1" / subject.format.file


def model_file(subject: Subject) -> Path:
    """The file or the folder, written now unless the same programs wrote it before.

    Raises ServerError with what the framework said where it cannot be written.
    """
    if subject.net.name == "trees":
        return tree_file(subject)
    if subject.format.name == "onnx":
        return onnx_file(subject.net.name)
    exported = subject.format.exported_as or subject.format.name
    folder = CACHE / "frameworks" / f"{subject.net.name}_{exported}"
    made_by = folder / "made_by.txt"
    programs = _programs()
    if not made_by.exists() or made_by.read_text() != programs:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        source, target = onnx_file(subject.net.name), folder / subject.format.file
        # In a process of its own, so that no framework's threads and memory stay here.
        command = [sys.executable, "-m", "benchmarks.frameworks.export", exported, str(source), str(target)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-5:])
            raise ServerError(f"{subject.model} could not be exported:\n{last}")
        made_by.write_text(programs)
    return folder / subject.format.file


def lay_out(subjects: Iterable[Subject], target: Path) -> Path:
    """A fresh repository in `target` with a model for each."""
    shutil.rmtree(target, ignore_errors=True)
    for subject in subjects:
        folder = target / subject.model / "1"
        folder.mkdir(parents=True)
        source = model_file(subject)
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, folder / subject.format.file)
        weights = source.with_suffix(".bin")  # OpenVINO has them beside the model
        if weights.exists():
            shutil.copyfile(weights, folder / weights.name)
        (target / subject.model / "config.pbtxt").write_text(config(subject))
    return target


def config(subject: Subject) -> str:
    """Its config.pbtxt: as the other benchmarks' models have it."""
    return (
        f'backend: "{subject.format.backend}"\nmax_batch_size: {LARGEST_BATCH}\n'
        f"input [ {_tensor(subject.net.input)} ]\noutput [ {_tensor(subject.net.output)} ]\n"
        "dynamic_batching { }\ninstance_group [ { count: 1 kind: KIND_CPU } ]\n"
        + "".join(parameter_lines(subject.format.parameters))
    )


def _tensor(tensor: Tensor) -> str:
    dims = ", ".join(map(str, tensor.dims))
    return f'{{ name: "{tensor.name}" data_type: TYPE_{tensor.datatype} dims: [ {dims} ] }}'


def _programs() -> str:
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "\n".join([*versions, *(path.read_text() for path in SOURCES)])
