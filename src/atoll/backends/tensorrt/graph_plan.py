"""For which shapes CUDA graphs are captured, and which of them a batch may use. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atoll.backends.tensorrt.engine import EngineDescription
from atoll.backends.tensorrt.profiles import Profile, Shape
from atoll.config.model_config import ModelConfig, ModelOptimizationPolicy
from atoll.errors import ConfigError

_Spec = ModelOptimizationPolicy.Cuda.GraphSpec
_USUAL_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16)  # those for which Triton's backend captures graphs unasked
_MOST_GRAPHS = 64  # each has an execution context of its own


@dataclass(frozen=True, slots=True)
class PlannedGraph:
    """`shapes`: of all inputs, with the batch dimension. Batches of `least` rows and more may use it, the rows that
    they lack being whatever there was; where it is for one shape only, `least` is 0.
    """

    shapes: Mapping[str, Shape]
    least: int = 0

    def serves(self, shapes: Mapping[str, Shape]) -> bool:
        """Whether a batch of these shapes, other than its own, may use it."""
        if not self.least or shapes.keys() != self.shapes.keys():
            return False
        for name, shape in shapes.items():
            own = self.shapes[name]
            if shape[1:] != own[1:] or not self.least <= shape[0] <= own[0]:
                return False
        return True


def why_none(engine: EngineDescription) -> str:
    """Why no graph can be captured of such an engine; "" where one can."""
    shaping = [one.name for one in engine.tensors if one.is_shape_tensor or one.on_host]
    return f"'{shaping[0]}' is a shape tensor" if shaping else ""


def plan_graphs(config: ModelConfig, engine: EngineDescription, profile: Profile) -> tuple[PlannedGraph, ...]:
    """Those that `optimization.cuda` asks for and that the profile takes: of `graph_spec`, or else for the usual sizes
    of batches at the profile's best dimensions. Raises ConfigError for a spec that no engine can follow.
    """
    cuda = config.optimization.cuda if config.optimization is not None else None
    if cuda is None or not cuda.graphs:
        return ()
    if len(cuda.graph_spec) > _MOST_GRAPHS:
        raise ConfigError(
            f"model '{config.name}': optimization.cuda.graph_spec has {len(cuda.graph_spec)} entries, at most "
            f"{_MOST_GRAPHS} are captured; leave some out"
        )
    names = {one.name for one in engine.inputs}
    graphs = [_of_spec(config, names, profile, number, spec) for number, spec in enumerate(cuda.graph_spec)] or [
        PlannedGraph(_usual(profile, rows)) for rows in _usual_batches(config)
    ]
    return tuple(one for one in graphs if _in_range(one.shapes, profile))


def find_graph(graphs: Sequence[PlannedGraph], shapes: Mapping[str, Shape]) -> PlannedGraph | None:
    """The one for exactly these shapes, or else the smallest that may serve them."""
    for one in graphs:
        if one.shapes == shapes:
            return one
    able = [one for one in graphs if one.serves(shapes)]
    return min(able, key=lambda one: max(shape[0] for shape in one.shapes.values()), default=None)


def _usual_batches(config: ModelConfig) -> list[int]:
    largest = config.max_batch_size
    if largest == 0:
        return [0]
    batching = config.dynamic_batching
    preferred = batching.preferred_batch_size if batching is not None else ()
    wanted = {1, *(preferred or _USUAL_BATCHES), largest}
    return sorted(rows for rows in wanted if rows <= largest)


def _usual(profile: Profile, rows: int) -> dict[str, Shape]:
    return {name: (rows, *one.optimum[1:]) if rows else one.optimum for name, one in profile.shapes.items()}


def _of_spec(config: ModelConfig, names: set[str], profile: Profile, number: int, spec: _Spec) -> PlannedGraph:
    where = f"model '{config.name}': optimization.cuda.graph_spec[{number}]"
    unknown = sorted(spec.input.keys() - names)
    if unknown:
        raise ConfigError(f"{where} names the input '{unknown[0]}', but the engine's are {sorted(names)}")
    if bool(spec.batch_size) != (config.max_batch_size > 0):
        wanted = f"from 1 to {config.max_batch_size}" if config.max_batch_size else "0, as max_batch_size is"
        raise ConfigError(f"{where}.batch_size is {spec.batch_size} but must be {wanted}")
    shapes = {
        name: _whole(spec.batch_size, spec.input[name].dim) if name in spec.input else usual
        for name, usual in _usual(profile, spec.batch_size).items()
    }
    bound = spec.graph_lower_bound
    if bound is None:
        return PlannedGraph(shapes)
    for name, one in bound.input.items():
        if name in shapes and _whole(bound.batch_size, one.dim)[1:] != shapes[name][1:]:
            raise ConfigError(
                f"{where}.graph_lower_bound: input '{name}' is {list(one.dim)}, but only the batch may be smaller "
                f"than in the graph, whose other dimensions are {list(shapes[name][1:])}"
            )
    if not 0 < bound.batch_size <= spec.batch_size:
        raise ConfigError(
            f"{where}.graph_lower_bound.batch_size is {bound.batch_size} but must be from 1 to {spec.batch_size}"
        )
    return PlannedGraph(shapes, bound.batch_size)


def _whole(rows: int, dims: Shape) -> Shape:
    return (rows, *dims) if rows else dims


def _in_range(shapes: Mapping[str, Shape], profile: Profile) -> bool:
    for name, allowed in profile.shapes.items():
        shape = shapes[name]
        if len(shape) != len(allowed.most):
            return False
        if not all(low <= dim <= high for low, dim, high in zip(allowed.least, shape, allowed.most, strict=True)):
            return False
    return True
