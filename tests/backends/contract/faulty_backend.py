"""A backend of numpy's that is right, or has the one fault that a test gives it."""

import json
import threading
import xml.dom.minidom  # noqa: F401 - the heavy library, imported too early
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np

from atoll.backends.api import Capabilities, ModelSource, Placement
from atoll.backends.model_kind import wrong_kind
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError
from atoll.tensor import BY_PROTOCOL_NAME, Array, DataType
from atoll.testing.backend_contract import BackendContract, ModelFiles

kept: list[object] = []
FILENAME = "model.faulty"


class FaultyBackend:
    """`fault` is the name of one, or empty."""

    name = "faulty"
    capabilities = Capabilities(bounded=True)
    default_model_filename = FILENAME
    default_instance_count = 1

    def __init__(self, fault: str = ""):
        self.fault = fault

    def signature(self, source: ModelSource) -> ModelSignature:
        file = self._read(source)
        datatype = BY_PROTOCOL_NAME[file["datatype"]]
        shape = tuple(file["shape"])
        if self.fault == "says another type":
            datatype = DataType.INT8
        if self.fault == "says another shape":
            shape = (*shape, 1)
        inputs, outputs = [
            tuple(TensorSignature(name=name, data_type=datatype, shape=shape) for name in file[side])
            for side in ("inputs", "outputs")
        ]
        return ModelSignature(inputs=inputs, outputs=outputs, batching=shape[:1] == (-1,))

    def load(self, source: ModelSource) -> "FaultyModel":
        file = self._read(source)
        if self.fault == "keeps files open":
            kept.append((source.version_directory / FILENAME).open())
        if self.fault == "keeps threads":
            stay = threading.Event()
            kept.append(stay)
            threading.Thread(target=stay.wait, daemon=True).start()
        return FaultyModel(self.fault, file, source.version_directory)

    def _read(self, source: ModelSource) -> Any:
        path = source.version_directory / FILENAME
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            if self.fault == "takes any file":
                return {"datatype": "FP32", "shape": [-1, 4], "inputs": ["IN"], "outputs": {"OUT": ["IN"]}}
            if self.fault == "does not name the file":
                raise ConfigError("the file cannot be read") from error
            if self.fault == "does not say what the file is":
                raise ConfigError(f"cannot read '{path}'") from error
            if self.fault == "raises anything":
                raise RuntimeError(f"cannot read '{path}'{wrong_kind(path, self.name)}") from error
            raise ConfigError(f"cannot read '{path}': {error}{wrong_kind(path, self.name)}") from error


class FaultyModel:
    def __init__(self, fault: str, file: Any, folder: Path):
        self.fault = fault
        self.file = file
        self.folder = folder
        self.shared: list[Array] = []

    def instance(self, placement: Placement) -> "FaultyInstance":
        return FaultyInstance(self)

    def close(self) -> None:
        if self.fault == "stays":
            kept.append(self)


class FaultyInstance:
    def __init__(self, model: FaultyModel):
        self.model = model
        self.buffers: dict[tuple[int, ...], Array] = {}
        self.thread = 0
        self.own = _code_of(model.folder) if model.fault == "runs the model's code" else None

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> Mapping[str, Array]:
        fault = self.model.fault
        if fault == "is of one thread":
            self.thread = self.thread or threading.get_ident()
            if threading.get_ident() != self.thread:
                raise RuntimeError("another thread")
        if fault == "waits":
            sleep(0.001)
        if fault == "has threads do it":
            with ThreadPoolExecutor(1) as others:
                return others.submit(self._executed, inputs, output_names).result()
        return self._executed(inputs, output_names)

    def _executed(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> Mapping[str, Array]:
        fault = self.model.fault
        if self.own is not None:
            self.own()
        names = sorted(output_names) if fault == "mixes outputs up" else output_names
        found = [self._output(inputs, *self.model.file["outputs"][name]) for name in names]
        return dict(zip(output_names, found, strict=True))

    def _output(self, inputs: Mapping[str, Array], first: str, second: str = "", sign: int = 0) -> Array:
        value = inputs[first]
        if second:
            value = self._shared(value) + sign * inputs[second]
        return _changed(self.model.fault, value, self.buffers)

    def _shared(self, value: Array) -> Array:
        if self.model.fault != "shares between instances":
            return value
        self.model.shared[:] = [value]
        sleep(0.001)
        return self.model.shared[0]

    def close(self) -> None:
        pass


def _changed(fault: str, value: Array, buffers: dict[tuple[int, ...], Array]) -> Array:
    """A copy, as the fault has it."""
    if fault == "writes to inputs":
        value += 1
        value -= 1
    if fault == "returns inputs":
        return value
    if fault == "uses outputs again":
        buffer = buffers.setdefault(value.shape, np.empty_like(value))
        buffer[...] = value
        return buffer
    if fault == "rounds" and value.dtype == np.float64:
        return np.clip(value, -1e30, 1e30)
    if fault == "returns text" and value.dtype == np.object_:
        return np.array([one.decode() for one in value.ravel()], np.object_).reshape(value.shape)
    if fault == "ends strings at a NUL" and value.dtype == np.object_:
        return np.array([one.rstrip(b"\0") for one in value.ravel()], np.object_).reshape(value.shape)
    if fault == "loses NaN" and value.dtype.kind == "f":
        return np.nan_to_num(value)
    if fault == "makes a row of scalars":
        return np.atleast_2d(value.copy())
    if fault == "answers one row":
        return value[:1].copy()
    return value.copy()


def _code_of(folder: Path) -> Callable[[], object]:
    path = folder / "own.py"
    names: dict[str, Any] = {}
    exec(compile("def own():\n    return 1\n", str(path), "exec"), names)
    own: Callable[[], object] = names["own"]
    return own


class FaultyContract(BackendContract):
    """Not collected: single tests of it are called."""

    backend = FaultyBackend
    runtime_modules = ("xml.dom.minidom",)

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        return _written(folder, datatype, dims, batching, ["IN"], {"OUT": ["IN"]})

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        outputs = {"SUM": ["A", "B", 1], "DIFFERENCE": ["A", "B", -1]}
        return _written(folder, "FP32", (4,), batching, ["A", "B"], outputs)


def _written(
    folder: Path, datatype: str, dims: tuple[int, ...], batching: bool, inputs: list[str], outputs: dict[str, list[Any]]
) -> ModelFiles:
    shape = [-1, *dims] if batching else list(dims)
    file = {"datatype": datatype, "shape": shape, "inputs": inputs, "outputs": outputs}
    (folder / FILENAME).write_text(json.dumps(file))
    return ModelFiles(tuple(inputs), tuple(outputs))
