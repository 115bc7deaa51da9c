"""A TensorRT whose engines are JSON and whose layers are numpy: it has the names and the rules of the Python API's
documentation (10.16), and fails where the real one may do anything: calls out of order, memory that is too small or
gone, a context that has changed since a graph was captured of it.
"""

import ctypes
import json
import weakref
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
from tests.unit.backends.tensorrt.cuda_standin import CudaStandIn, Misuse

VERSION = "10.16.1.11"
DTYPES = {
    "FLOAT": "f4",
    "HALF": "f2",
    "BF16": "u2",
    "INT8": "i1",
    "INT32": "i4",
    "INT64": "i8",
    "BOOL": "?",
    "UINT8": "u1",
}
MAGIC = b"ftrt"


class DataType(Enum):
    FLOAT, HALF, BF16, INT8, INT32, INT64, BOOL, UINT8, FP8, INT4 = range(10)


class TensorFormat(Enum):
    LINEAR, CHW32 = range(2)


class TensorLocation(Enum):
    DEVICE, HOST = range(2)


class TensorIOMode(Enum):
    NONE, INPUT, OUTPUT = range(3)


class Severity(Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ExecutionContextAllocationStrategy(Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class ILogger:
    made = False

    def __init__(self) -> None:
        self.made = True


class IOutputAllocator:
    made = False

    def __init__(self) -> None:
        self.made = True


def plan(**content: Any) -> bytes:
    """An engine's file. `inputs` and `outputs`: name to (type, shape) or (type, shape, facts); `profiles`: a list of
    name to three shapes; `values`: the same for shape tensors; `operation`: a method of Operations.
    """
    return MAGIC + json.dumps({"version": VERSION, **content}).encode()


class Operations:
    """The outputs of an engine. None for a shape that only the values of an input on the GPU tell."""

    @staticmethod
    def same(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"OUT": inputs["IN"]}

    @staticmethod
    def double(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"OUT": inputs["IN"] * 2}

    @staticmethod
    def add(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"SUM": inputs["A"] + inputs["B"], "DIFFERENCE": inputs["A"] - inputs["B"]}

    @staticmethod
    def positive(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"OUT": inputs["IN"][inputs["IN"] > 0]}

    @staticmethod
    def expand(inputs: dict[str, Any]) -> dict[str, Any]:
        """To the shape that a shape tensor says; and that shape, as a shape tensor."""
        shape = tuple(inputs["SHAPE"].tolist())
        return {"OUT": np.broadcast_to(inputs["IN"].ravel()[:1], shape), "WAS": inputs["SHAPE"]}


def make_tensorrt(cuda: CudaStandIn) -> Any:
    """The module."""

    class Engine:
        def __init__(self, content: dict[str, Any], logger: Any, runtime: Any):
            module.held.add(self)
            self._content = content
            self.logger = logger
            self.runtime = runtime
            self._tensors = {**content["inputs"], **content["outputs"]}
            self._names = list(self._tensors)
            self.num_io_tensors = len(self._names)
            self.num_optimization_profiles = len(content.get("profiles", [None]))
            self.device_memory_size_v2 = content.get("workspace", 512)

        def _of(self, name: str) -> Any:
            if name not in self._tensors:
                raise Misuse(f"no tensor {name}")
            type_name, shape, *facts = self._tensors[name]
            return type_name, shape, facts[0] if facts else {}

        def get_tensor_name(self, index: int) -> str:
            return self._names[index]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            self._of(name)
            return TensorIOMode.INPUT if name in self._content["inputs"] else TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> DataType:
            return DataType[self._of(name)[0]]

        def get_tensor_shape(self, name: str) -> list[int]:
            return self._of(name)[1]

        def is_shape_inference_io(self, name: str) -> bool:
            return self._of(name)[2].get("shape_tensor", False)

        def get_tensor_location(self, name: str) -> TensorLocation:
            return TensorLocation.HOST if self.is_shape_inference_io(name) else TensorLocation.DEVICE

        def get_tensor_format(self, name: str, profile_index: int = 0) -> TensorFormat:
            return TensorFormat.CHW32 if "layout" in self._of(name)[2] else TensorFormat.LINEAR

        def get_tensor_format_desc(self, name: str, profile_index: int = 0) -> str:
            return self._of(name)[2].get("layout", "Row major linear FP32 format")

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
            if self.get_tensor_mode(name) is not TensorIOMode.INPUT:
                raise Misuse("profiles are for inputs")
            shape = self._of(name)[1]
            found = self._content.get("profiles", [{}])[profile_index].get(name)
            return found or [shape, shape, shape]

        def get_tensor_profile_values(self, *arguments: Any) -> list[list[int]]:
            profile_index, name = arguments  # by position: documented the other way round than it is bound
            if not (isinstance(profile_index, int) and isinstance(name, str)):
                raise TypeError("get_tensor_profile_values(): incompatible function arguments")
            return self._content.get("values", [{}])[profile_index].get(name, [])

        def create_execution_context(self, strategy: Any) -> Any:
            return Context(self, strategy)

    class Context:
        def __init__(self, engine: Engine, strategy: Any):
            self._engine = engine
            self._strategy = strategy
            self._memory: tuple[int, int] | None = None
            self._profile: int | None = None
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}
            self._allocators: dict[str, Any] = {}
            self._outputs: dict[str, tuple[int, ...]] | None = None
            self._changes = 0
            module.held.add(self)

        def set_device_memory(self, memory: int, size: int) -> None:
            if self._strategy is not ExecutionContextAllocationStrategy.USER_MANAGED:
                raise Misuse("the context has memory of its own")
            if memory % 16 or size < self._engine.device_memory_size_v2:
                raise Misuse("too little memory to work in")
            cuda.there(memory, size)
            self._memory = memory, size

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            cuda.streams[stream_handle].give(lambda: None)
            self._profile, self._shapes, self._outputs = profile_index, {}, None
            return 0 <= profile_index < self._engine.num_optimization_profiles

        def set_input_shape(self, name: str, shape: Any) -> bool:
            if type(shape) not in (tuple, list):
                raise TypeError("set_input_shape(): incompatible function arguments")
            if self._profile is None:
                raise Misuse("no profile is chosen")
            low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
            whole = len(shape) == len(high) and all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
            if not whole:
                self._engine.logger.log(Severity.ERROR, f"setInputShape: out of range for {name}")
                return False
            self._shapes[name], self._outputs = tuple(shape), None
            self._changes += 1
            return True

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._engine._of(name)
            if type(memory) is not int or memory == 0:
                raise Misuse("not an address")
            self._addresses[name] = memory
            self._changes += 1
            return True

        def set_output_allocator(self, name: str, allocator: Any) -> bool:
            if not allocator.made:
                raise Misuse("the base class was not instantiated")
            self._allocators[name] = allocator
            return self._engine.get_tensor_mode(name) is TensorIOMode.OUTPUT

        def infer_shapes(self) -> list[str]:
            inputs = self._engine._content["inputs"]
            missing = [name for name in inputs if -1 in inputs[name][1] and name not in self._shapes]
            missing += [
                name for name in inputs if self._engine.is_shape_inference_io(name) and name not in self._addresses
            ]
            if missing:
                return missing
            self._outputs = self._infer()
            return []

        def _infer(self) -> dict[str, tuple[int, ...]]:
            content = self._engine._content
            if content["operation"] == "positive":
                return {"OUT": (-1,)}
            arrays = {}
            for name, (type_name, shape, *_) in content["inputs"].items():
                shape = self._shapes.get(name, tuple(shape))
                if self._engine.is_shape_inference_io(name):
                    arrays[name] = _read(self._addresses[name], type_name, shape)
                    if (arrays[name] < 0).any():
                        raise RuntimeError("a dimension is negative")
                else:
                    arrays[name] = np.zeros(shape, DTYPES[type_name])
            return {name: one.shape for name, one in self._compute(arrays).items()}

        def get_tensor_shape(self, name: str) -> Any:
            if self._outputs is None:
                raise Misuse("the shapes are not inferred")
            return self._outputs[name]

        def _compute(self, arrays: dict[str, Any]) -> dict[str, Any]:
            with np.errstate(all="ignore"):
                return getattr(Operations, self._engine._content["operation"])(arrays)

        def execute_async_v3(self, stream_handle: int) -> bool:
            if self._memory is None or self._profile is None or self._outputs is None:
                raise Misuse("memory, profile and shapes come first")
            content = self._engine._content
            if content.get("fails"):
                self._engine.logger.log(Severity.ERROR, content["fails"])
                return False
            stream = cuda.streams[stream_handle]
            capturing = stream.capturing is not None
            if capturing and content.get("uncapturable"):
                self._engine.logger.log(Severity.ERROR, "operation not permitted when stream is capturing")
                return False
            for name in content["outputs"]:
                if name not in self._addresses and name not in self._allocators:
                    raise Misuse(f"no memory for {name}")
            shapes, addresses, changes = dict(self._shapes), dict(self._addresses), self._changes

            def work() -> None:
                if capturing and self._changes != changes:
                    raise Misuse("the context has changed since the graph was captured")
                self._run(shapes, addresses)

            if self._allocators:  # so that their shapes are known when this returns
                stream.run()
                work()
            else:
                stream.give(work)
            return True

        def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
            assert self._memory is not None
            cuda.there(*self._memory)
            arrays = {}
            for name, (type_name, shape, *_) in self._engine._content["inputs"].items():
                shape = shapes.get(name, tuple(shape))
                if not self._engine.is_shape_inference_io(name):
                    cuda.there(addresses[name], int(np.prod(shape)) * np.dtype(DTYPES[type_name]).itemsize)
                arrays[name] = _read(addresses[name], type_name, shape)
            for name, array in self._compute(arrays).items():
                array = np.ascontiguousarray(array, DTYPES[self._engine._of(name)[0]])
                address = addresses.get(name, 0)
                if name in self._allocators:
                    allocator = self._allocators[name]
                    address = allocator.reallocate_output_async(name, address, array.nbytes, 256, 0)
                    if not address:
                        self._engine.logger.log(Severity.ERROR, f"no memory for {name}")
                        return
                    allocator.notify_shape(name, array.shape)
                if not self._engine.is_shape_inference_io(name):
                    cuda.there(address, array.nbytes)
                ctypes.memmove(address, array.ctypes.data, array.nbytes)

    class Runtime:
        num_DLA_cores = 1  # noqa: N815

        def __init__(self, logger: Any):
            if not logger.made:
                raise Misuse("the base class was not instantiated")
            if not cuda.current:
                raise Misuse("no GPU is current")
            self.logger = logger
            self.engine_host_code_allowed = False
            self.DLA_core: int | None = None
            module.runtimes.append(weakref.ref(self))
            if module.cuda_failure:
                logger.log(Severity.ERROR, module.cuda_failure)

        def __del__(self) -> None:
            if module.cuda_failure:
                raise Misuse("a crash")

        def deserialize_cuda_engine(self, content: Any) -> Any:
            if module.cuda_failure:
                raise Misuse("a crash")
            module.deserialized += 1
            data = bytes(memoryview(content))
            if not data.startswith(MAGIC):
                self.logger.log(Severity.ERROR, "Serialization assertion magicTagRead == magicTag failed.")
                return None
            try:
                document = json.loads(data[4:])
            except ValueError:
                self.logger.log(Severity.ERROR, "Engine deserialization failed.")
                return None
            if document["version"] != VERSION and not self.engine_host_code_allowed:
                self.logger.log(
                    Severity.ERROR,
                    f"The engine plan file is not compatible with this version of TensorRT, expecting library version "
                    f"{VERSION} got {document['version']}, please rebuild.",
                )
                return None
            return Engine(document, self.logger, self)

    def initialize_plugins(logger: Any, namespace: str) -> bool:
        module.plugins_initialized += 1
        return True

    module = SimpleNamespace(
        __version__=VERSION,
        DataType=DataType,
        ExecutionContextAllocationStrategy=ExecutionContextAllocationStrategy,
        ILogger=ILogger,
        IOutputAllocator=IOutputAllocator,
        Runtime=Runtime,
        TensorFormat=TensorFormat,
        TensorIOMode=TensorIOMode,
        TensorLocation=TensorLocation,
        cuda_failure="",  # with it, a runtime is there but may not be used
        deserialized=0,
        held=weakref.WeakSet(),  # engines and contexts that somebody has
        init_libnvinfer_plugins=initialize_plugins,
        plugins_initialized=0,
        runtimes=[],
    )
    return module


def _read(address: int, type_name: str, shape: tuple[int, ...]) -> Any:
    dtype = np.dtype(DTYPES[type_name])
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)
