"""A model's inputs and outputs: under which names they are served, of which types and shapes."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.backends.openvino.types import data_type_of
from atoll.config.model_config import ModelConfig
from atoll.config.signature import ModelSignature, TensorSignature, server_made_inputs
from atoll.errors import ConfigError
from atoll.tensor import DataType

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its number in the model, and the element type as OpenVINO has it. `shape` is None where even
    the number of dimensions is open.
    """

    name: str
    index: int
    element_type: Any
    data_type: DataType
    shape: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Ports:
    """Of one model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def signature(self, *, any_batch: bool = False) -> ModelSignature:
        """`any_batch`: whatever the first dimensions are, batches of any size are taken."""
        return ModelSignature(
            inputs=tuple(_tensor(one, any_batch) for one in self.inputs),
            outputs=tuple(_tensor(one, any_batch) for one in self.outputs),
        )


def ports_of(model: Any, path: Path, config: ModelConfig) -> Ports:
    """The ports of an openvino.Model.

    A tensor may have several names, or none. The one that the configuration uses counts, which may be that of its node,
    too: the one that takes an input in, makes an output, or gives it out. Else it is the node's name if that is among
    the tensor's, else the first of these, else the node's. Where an output is an input unchanged, and so has its names,
    each has one that the other does not have.
    Outputs that the protocol has no type for are left out, with a warning, where there are others.
    Raises ConfigError for an input of such a type, and where no output is left.
    """
    made = server_made_inputs(config)
    wanted = {one.name for one in config.input} | made
    states = {one.output_name for one in config.sequence_batching.state} if config.sequence_batching else set()
    given = {name for port in model.outputs for name in port.get_names()}
    inputs: list[Port] = []
    for port, name in zip(model.inputs, _names(model.inputs, _nodes_of_input, wanted, given), strict=True):
        found = _port(port, name, len(inputs))
        if found is None:
            raise ConfigError(
                f"{_untyped('input', name, port, path)}; convert the model with inputs of another type, for instance "
                "by openvino.preprocess"
            )
        inputs.append(found)
    outputs = []
    taken = {one.name for one in inputs}
    wanted = {one.name for one in config.output} | states
    for index, (port, name) in enumerate(
        zip(model.outputs, _names(model.outputs, _nodes_of_output, wanted, taken), strict=True)
    ):
        found = _port(port, name, index)
        if found is None:
            logger.warning("%s; it is left out", _untyped("output", name, port, path))
        else:
            outputs.append(found)
    if not outputs:
        raise ConfigError(f"no output of '{path}' is a tensor of numbers or strings: the model cannot be served")
    return Ports(tuple(inputs), tuple(outputs))


def _port(port: Any, name: str, index: int) -> Port | None:
    element_type = port.get_element_type()
    data_type = data_type_of(element_type)
    if data_type is None:
        return None
    return Port(name, index, element_type, data_type, shape_of(port.get_partial_shape()))


def shape_of(partial: Any) -> tuple[int, ...] | None:
    """An openvino.PartialShape with -1 for what is open; None where the number of dimensions is."""
    if partial.rank.is_dynamic:
        return None
    return tuple(-1 if one.is_dynamic else one.get_length() for one in partial)


def _names(
    ports: Iterable[Any], nodes: Callable[[Any], list[str]], wanted: Collection[str], elsewhere: Collection[str]
) -> list[str]:
    """`nodes`: the names of the nodes that stand for a port. `elsewhere`: names that the other side has."""
    chosen: list[str] = []
    for port in ports:
        names, made_by = sorted(port.get_names()), nodes(port)
        usual = [*(one for one in made_by if one in names), *names, *made_by]
        candidates = [one for one in usual if one in wanted]
        candidates += [*(one for one in usual if one not in elsewhere), *made_by]
        chosen.append(next((one for one in candidates if one not in chosen), f"{made_by[0]}_{len(chosen)}"))
    return chosen


def _nodes_of_input(port: Any) -> list[str]:
    return [str(port.get_node().get_friendly_name())]


def _nodes_of_output(port: Any) -> list[str]:
    result = port.get_node()
    return [str(result.input_value(0).get_node().get_friendly_name()), str(result.get_friendly_name())]


def _untyped(kind: str, name: str, port: Any, path: Path) -> str:
    element = port.get_element_type().get_type_name()
    return f"{kind} '{name}' of '{path}' is of type {element}, which the inference protocol does not have"


def _tensor(port: Port, any_batch: bool) -> TensorSignature:
    shape: Sequence[int] | None = port.shape
    if any_batch and shape:
        shape = (-1, *shape[1:])
    return TensorSignature(name=port.name, data_type=port.data_type, shape=None if shape is None else tuple(shape))
