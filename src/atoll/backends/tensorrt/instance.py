"""One execution context of a model on a GPU: a batch's arrays there, through an engine, and back."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atoll.backends.tensorrt.buffers import Buffers, copied, write
from atoll.backends.tensorrt.contexts import Context
from atoll.backends.tensorrt.engine import EngineTensor
from atoll.backends.tensorrt.graph_plan import PlannedGraph, find_graph, plan_graphs, why_none
from atoll.backends.tensorrt.loading import LoadedEngine
from atoll.backends.tensorrt.profiles import Profile, Shape, choose
from atoll.backends.tensorrt.settings import RunSettings
from atoll.config.model_config import ModelConfig
from atoll.devices.cuda_driver import CudaError
from atoll.devices.cuda_stream import CudaGraph
from atoll.errors import AtollError, InternalError
from atoll.tensor import Array, element_count

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Captured:
    """A graph, the context of which nothing else is asked, and how often memory had moved when it was captured."""

    plan: PlannedGraph
    context: Context
    graph: CudaGraph
    moves: int


class TensorRtInstance:
    """Has a stream, memory, and a context for each profile of its instance group and each captured graph."""

    def __init__(self, loaded: LoadedEngine, config: ModelConfig, profiles: Sequence[int], options: RunSettings):
        self._loaded = loaded
        self._device = loaded.device
        self._description = loaded.description
        self._tensors = {one.name: one for one in self._description.tensors}
        self._profiles: tuple[Profile, ...] = tuple(self._description.profiles[index] for index in profiles)
        self._batching = config.max_batch_size > 0
        self._pinned = options.pinned
        self._contexts: dict[int, Context] = {}
        self._graphs: dict[int, list[_Captured]] = {}
        try:
            with self._device.current():
                self._stream = self._device.stream(priority=options.priority, spin=options.spin)
                self._buffers = Buffers(self._device)
                workspace = self._buffers.on_device("", self._description.workspace_bytes)
                for profile in self._profiles:
                    self._contexts[profile.index] = self._context(profile, workspace)
                if options.graphs:
                    self._capture_all(config, workspace)
        except BaseException as error:
            self.close()
            if isinstance(error, CudaError):
                raise InternalError(
                    f"model '{config.name}': no instance on GPU {self._device.number}: {error}"
                ) from error
            raise

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch; see `atoll.backends.api.Instance`."""
        with self._device.current():
            try:
                return self._execute(inputs, output_names)
            except BaseException as error:
                self._stream.drain()  # what is on its way reads the engine's arrays and writes into our memory
                if isinstance(error, AtollError):
                    raise
                raise InternalError(f"TensorRT on GPU {self._device.number}: {error}") from error

    def close(self) -> None:
        """Free the contexts, graphs, memory and stream."""
        if not hasattr(self, "_stream"):
            return  # it was never made
        with self._device.current():
            for captured in (one for all_of_them in self._graphs.values() for one in all_of_them):
                captured.graph.close()
                captured.context.close()
            for context in self._contexts.values():
                context.close()
            self._graphs.clear()
            self._contexts.clear()
            if hasattr(self, "_buffers"):
                self._buffers.close()
            self._stream.close()
            del self._stream

    def _execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        arrays = {name: self._given(self._tensors[name], array, inputs) for name, array in inputs.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        profile = self._profile(arrays, shapes)
        captured = self._captured(profile, shapes) if self._graphs else None
        addresses = {name: self._copy_in(self._tensors[name], array) for name, array in arrays.items()}
        if captured is not None and captured.moves == self._buffers.moves:
            captured.graph.launch(self._stream)
            context, rows = captured.context, next(iter(shapes.values()))[0] if captured.plan.least else None
        else:
            context, rows = self._contexts[profile.index], None
            context.prepare(shapes, addresses)
            context.enqueue()
        return self._copy_out(context, output_names, rows)

    def _given(self, tensor: EngineTensor, array: Array, inputs: Mapping[str, Array]) -> Array:
        """What the engine gets for an input: with batches, a shape tensor may come without the batch's size."""
        if not (self._batching and tensor.is_shape_tensor and array.ndim == 1 and tensor.shape == (len(array) + 1,)):
            return array
        rows = next(len(one) for name, one in inputs.items() if not self._tensors[name].is_shape_tensor)
        return np.concatenate((np.array([rows], array.dtype), array))

    def _profile(self, arrays: Mapping[str, Array], shapes: Mapping[str, Shape]) -> Profile:
        values = {
            name: tuple(array.ravel().tolist()) for name, array in arrays.items() if self._tensors[name].is_shape_tensor
        }
        return choose(self._profiles, shapes, values)

    def _copy_in(self, tensor: EngineTensor, array: Array) -> int:
        """Where the engine finds the input."""
        if tensor.on_host:
            address = self._buffers.on_host(tensor.name, array.nbytes)
            write(address, array)
            return address
        address = self._buffers.on_device(tensor.name, array.nbytes)
        if array.nbytes:
            self._stream.copy_in(address, array.ctypes.data, array.nbytes)
        return address

    def _copy_out(self, context: Context, names: Sequence[str], rows: int | None) -> dict[str, Array]:
        """The outputs, once they are there; of a graph for more rows, the first ones."""
        found: dict[str, Array] = {}
        staged: list[tuple[str, int, Shape]] = []
        for name in names:
            tensor = self._tensors[name]
            shape = context.output_shape(name)
            if rows is not None:
                shape = (rows, *shape[1:])
            if tensor.on_host:
                staged.append((name, context.output_address(name), shape))
                continue
            array = np.empty(shape, tensor.data_type.dtype)
            if not self._pinned:
                address = array.ctypes.data
                found[name] = array
            else:
                address = self._buffers.on_host(name, array.nbytes)
                staged.append((name, address, shape))
            if array.nbytes:
                self._stream.copy_out(address, context.output_address(name), array.nbytes)
        self._stream.wait()
        for name, address, shape in staged:
            found[name] = copied(address, self._tensors[name].data_type.dtype, shape)
        return found

    def _captured(self, profile: Profile, shapes: Mapping[str, Shape]) -> _Captured | None:
        captured = self._graphs.get(profile.index, [])
        found = find_graph([one.plan for one in captured], shapes)
        return next((one for one in captured if one.plan is found), None)

    def _context(self, profile: Profile, workspace: int) -> Context:
        return Context(self._loaded, profile.index, workspace, self._stream, self._buffers)

    def _capture_all(self, config: ModelConfig, workspace: int) -> None:
        obstacle = why_none(self._description)
        if obstacle:
            logger.warning("model '%s': no CUDA graphs are captured: %s", config.name, obstacle)
            return
        for profile in self._profiles:
            plans = plan_graphs(config, self._description, profile)
            # the largest first: what they share does not move afterwards
            for plan in sorted(plans, key=lambda one: -sum(map(element_count, one.shapes.values()))):
                captured = self._capture(config, plan, profile, workspace)
                if captured is None:
                    return
                self._graphs.setdefault(profile.index, []).append(captured)

    def _capture(self, config: ModelConfig, plan: PlannedGraph, profile: Profile, workspace: int) -> _Captured | None:
        context = self._context(profile, workspace)
        try:
            sizes = {
                name: element_count(shape) * self._tensors[name].data_type.size for name, shape in plan.shapes.items()
            }
            context.prepare(plan.shapes, {name: self._buffers.on_device(name, size) for name, size in sizes.items()})
            if context.depends_on_data:
                raise InternalError("the shape of an output depends on what is in the inputs")
            context.enqueue()  # once before, for what TensorRT puts off after a change of shapes
            self._stream.wait()
            with self._stream.captured() as graph:
                context.enqueue()
        except (AtollError, CudaError) as error:
            self._stream.drain()
            context.close()
            logger.warning("model '%s': no CUDA graphs are captured: %s", config.name, error)
            return None
        return _Captured(plan, context, graph, self._buffers.moves)
