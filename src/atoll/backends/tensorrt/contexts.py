"""An execution context of an engine, kept at one optimization profile: shapes in, addresses in, work onto a stream."""

from collections.abc import Mapping
from typing import Any

from atoll.backends.tensorrt.buffers import Buffers
from atoll.backends.tensorrt.loading import LoadedEngine
from atoll.backends.tensorrt.profiles import Shape
from atoll.devices.cuda_driver import CudaError
from atoll.devices.cuda_stream import CudaStream
from atoll.errors import InternalError, InvalidArgumentError
from atoll.tensor import element_count


class Context:
    """Made, used and closed with the GPU current. `workspace`: the address of the memory that TensorRT works in;
    contexts that share it run one after another.
    """

    def __init__(self, loaded: LoadedEngine, profile: int, workspace: int, stream: CudaStream, buffers: Buffers):
        self._loaded = loaded
        self._heard = loaded.heard
        self._stream = stream
        self._buffers = buffers
        self._description = loaded.description
        self._has_shape_tensors = any(one.is_shape_tensor and one.is_input for one in self._description.tensors)
        self._shapes: Mapping[str, Shape] | None = None
        self._output_shapes: dict[str, Shape] = {}
        self._allocators: dict[str, Any] = {}
        self._addresses: dict[str, int] = {}
        strategy = loaded.tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._context = loaded.engine.create_execution_context(strategy)
        if self._context is None:
            raise InternalError(f"TensorRT makes no execution context: {self._heard.take()}")
        self._context.set_device_memory(workspace, self._description.workspace_bytes)
        self._demand(self._context.set_optimization_profile_async(profile, stream.handle), "chooses no profile")
        stream.wait()

    def prepare(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> None:
        """Say where the inputs are, of which shapes, and make room for the outputs.

        Raises InvalidArgumentError where TensorRT cannot tell the outputs' shapes from these inputs.
        """
        changed = shapes != self._shapes
        if changed:
            self._shapes = None  # until all of them are said
            for name, shape in shapes.items():
                self._demand(self._context.set_input_shape(name, shape), f"does not take {list(shape)} for '{name}'")
        for name, address in addresses.items():
            self._place(name, address)
        if changed or self._has_shape_tensors:
            self._infer_shapes()
        self._shapes = dict(shapes)
        self._place_outputs()

    def enqueue(self) -> None:
        """Give the execution to the stream. Raises InternalError where TensorRT refuses."""
        self._heard.take()
        self._demand(self._context.execute_async_v3(self._stream.handle), "cannot execute the batch")

    def output_shape(self, name: str) -> Shape:
        """Of an output, once `enqueue` has returned. Raises InternalError where TensorRT has not told it."""
        allocator = self._allocators.get(name)
        if allocator is None:
            return self._output_shapes[name]
        if allocator.shape is None:
            raise InternalError(f"TensorRT did not say the shape of output '{name}': {self._heard.take()}")
        shape: Shape = allocator.shape
        return shape

    def output_address(self, name: str) -> int:
        """Where an output is, once `enqueue` has returned."""
        allocator = self._allocators.get(name)
        return self._addresses[name] if allocator is None else allocator.address

    @property
    def depends_on_data(self) -> bool:
        """Whether the shape of an output follows from what is in the inputs."""
        return bool(self._allocators)

    def close(self) -> None:
        """Free it; it may not be under way."""
        del self._context
        self._allocators.clear()

    def _infer_shapes(self) -> None:
        self._heard.take()
        try:
            missing = self._context.infer_shapes()
        except RuntimeError as error:
            raise InvalidArgumentError(
                f"the outputs' shapes do not follow from these inputs: {error}; {self._heard.take()}"
            ) from error
        if missing:
            raise InternalError(f"TensorRT lacks the shapes of {', '.join(missing)}. This is a bug")

    def _place_outputs(self) -> None:
        for one in self._description.outputs:
            shape = tuple(self._context.get_tensor_shape(one.name))
            if -1 in shape or one.name in self._allocators:
                self._allocate_later(one.name)
                continue
            size = element_count(shape) * one.data_type.size
            buffers = self._buffers
            self._output_shapes[one.name] = shape
            self._place(one.name, buffers.on_host(one.name, size) if one.on_host else buffers.on_device(one.name, size))

    def _allocate_later(self, name: str) -> None:
        allocator = self._allocators.get(name)
        if allocator is None:
            allocator = _make_allocator(self._loaded.tensorrt, self._buffers)
            self._demand(self._context.set_output_allocator(name, allocator), f"takes no allocator for '{name}'")
            self._allocators[name] = allocator
        allocator.shape = None

    def _place(self, name: str, address: int) -> None:
        if self._addresses.get(name) != address:
            self._demand(self._context.set_tensor_address(name, address), f"does not take the memory of '{name}'")
            self._addresses[name] = address

    def _demand(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise InternalError(f"TensorRT {what}: {self._heard.take()}")


def _make_allocator(tensorrt: Any, buffers: Buffers) -> Any:
    """A tensorrt.IOutputAllocator, which TensorRT calls when it knows how large an output is."""

    class Allocator(tensorrt.IOutputAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.IOutputAllocator.__init__(self)
            self.shape: Shape | None = None
            self.address = 0

        def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return self.reallocate_output(tensor_name, memory, size, alignment)

        def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
            try:
                self.address = buffers.on_device(tensor_name, size)
            except CudaError:
                self.address = 0  # which tells TensorRT that there is no memory
            return self.address

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            self.shape = tuple(shape)

    return Allocator()
