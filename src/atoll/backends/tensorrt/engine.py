"""What an engine says of itself: its tensors and optimization profiles. Read once, and no object of TensorRT kept."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from atoll.backends.tensorrt.profiles import Profile, Range, Shape
from atoll.backends.tensorrt.types import data_type_of
from atoll.errors import ConfigError
from atoll.tensor import DataType


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTensor:
    """An input or output. `shape` is whole, with -1 for any size.

    `is_shape_tensor`: the shapes of others follow from its values, or its values from theirs. `on_host`: TensorRT wants
    it in the host's memory. `layout` is "" for the usual order of elements, else what TensorRT says of it.
    """

    name: str
    is_input: bool
    data_type: DataType
    shape: Shape
    is_shape_tensor: bool = False
    on_host: bool = False
    layout: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDescription:
    """`workspace_bytes`: how much of the GPU's memory an execution needs besides the tensors."""

    tensors: tuple[EngineTensor, ...]
    profiles: tuple[Profile, ...]
    workspace_bytes: int = 0

    @property
    def inputs(self) -> tuple[EngineTensor, ...]:
        """In the engine's order, as the outputs are."""
        return tuple(one for one in self.tensors if one.is_input)

    @property
    def outputs(self) -> tuple[EngineTensor, ...]:
        return tuple(one for one in self.tensors if not one.is_input)

    def batches(self) -> bool:
        """Whether the first dimension is the batch's: of any size in every input and output that is no shape tensor."""
        shapes = [one.shape for one in self.tensors if not one.is_shape_tensor]
        return bool(shapes) and all(shape[:1] == (-1,) for shape in shapes)

    def largest_batch(self, profile: Profile) -> int:
        """How many rows all inputs take in that profile; 0 where the engine does not batch."""
        if not self.batches():
            return 0
        return min((profile.shapes[one.name].most[0] for one in self.inputs if not one.is_shape_tensor), default=0)


def describe(tensorrt: Any, engine: Any, path: object) -> EngineDescription:
    """Read a tensorrt.ICudaEngine. Raises ConfigError for a tensor that cannot be served."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    tensors = tuple(_tensor(tensorrt, engine, name, path) for name in names)
    profiles = tuple(_profile(engine, tensors, index) for index in range(engine.num_optimization_profiles))
    return EngineDescription(tensors=tensors, profiles=profiles, workspace_bytes=engine.device_memory_size_v2)


def _tensor(tensorrt: Any, engine: Any, name: str, path: object) -> EngineTensor:
    is_input = engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT
    written = engine.get_tensor_dtype(name).name
    data_type = data_type_of(written)
    if data_type is None:
        raise ConfigError(
            f"{'input' if is_input else 'output'} '{name}' of '{path}' is of TensorRT's type {written}, which the "
            "inference protocol does not have; build the engine with inputs and outputs of FP32, FP16, BF16, INT8, "
            "INT32, INT64, UINT8 or BOOL"
        )
    return EngineTensor(
        name=name,
        is_input=is_input,
        data_type=data_type,
        shape=tuple(engine.get_tensor_shape(name)),
        is_shape_tensor=bool(engine.is_shape_inference_io(name)),
        on_host=engine.get_tensor_location(name) == tensorrt.TensorLocation.HOST,
        layout="; ".join(dict.fromkeys(_layouts(tensorrt, engine, name))),
    )


def _layouts(tensorrt: Any, engine: Any, name: str) -> Iterator[str]:
    for index in range(engine.num_optimization_profiles):
        if engine.get_tensor_format(name, index) != tensorrt.TensorFormat.LINEAR:
            yield engine.get_tensor_format_desc(name, index)


def _profile(engine: Any, tensors: tuple[EngineTensor, ...], index: int) -> Profile:
    shapes, values = {}, {}
    for one in tensors:
        if not one.is_input:
            continue
        shapes[one.name] = _range(engine.get_tensor_profile_shape(one.name, index)) or Range(*[one.shape] * 3)
        if one.is_shape_tensor and one.on_host:
            # By position: the binding's names for these two are exchanged.
            found = _range(engine.get_tensor_profile_values(index, one.name))
            if found is not None:
                values[one.name] = found
    return Profile(index, shapes, values)


def _range(found: Any) -> Range | None:
    """Of the three that TensorRT returns, least, best and largest; None where there are none."""
    three = [tuple(int(dim) for dim in one) for one in found or ()]
    return Range(*three) if len(three) == 3 else None
