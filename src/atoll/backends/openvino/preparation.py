"""From a model's file to one that is ready to be compiled: read, with the batches and dims that are asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.openvino.errors import error_text, load_error
from atoll.backends.openvino.model_file import read_model
from atoll.backends.openvino.ports import Ports, ports_of, shape_of
from atoll.backends.openvino.runtime import OpenVino
from atoll.backends.openvino.settings import ModelSettings
from atoll.config.model_config import ModelConfig
from atoll.config.signature import ModelSignature


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """`model` is an openvino.Model. `batch` is the size that all batches are filled up to; 0 where they are not."""

    model: Any
    ports: Ports
    batch: int = 0

    @property
    def signature(self) -> ModelSignature:
        """What the configuration must agree with."""
        return self.ports.signature(any_batch=self.batch > 0)


def prepare(openvino: OpenVino, core: Any, source: ModelSource, path: Path, settings: ModelSettings) -> PreparedModel:
    """Read the file and give its inputs the shapes that the settings ask for.

    Raises ConfigError naming the file and the cause, also where the model cannot have inputs of such shapes.
    """

    def read() -> Any:
        return read_model(openvino, core, source, path, settings.mapped)

    config = source.config
    model = read()
    if settings.reshape:
        shapes = _configured_shapes(ports_of(model, path, config), config)
        if shapes:
            _reshape(openvino, model, shapes, source, path)
    if settings.padding:
        return _padded(openvino, model, source, path)
    if config.max_batch_size > 0 and settings.dynamic_batch:
        model = _with_any_batch(openvino, model) or read()
    return PreparedModel(model, ports_of(model, path, config))


def _configured_shapes(ports: Ports, config: ModelConfig) -> dict[int, list[int]]:
    """By the numbers of the inputs, their whole shapes as the configuration has them."""
    dims = {one.name: one.reshape.shape if one.reshape is not None else one.dims for one in config.input if one.dims}
    batch = [-1] if config.max_batch_size > 0 else []
    return {one.index: [*batch, *dims[one.name]] for one in ports.inputs if one.name in dims}


def _padded(openvino: OpenVino, model: Any, source: ModelSource, path: Path) -> PreparedModel:
    batch = source.config.max_batch_size
    shapes = {}
    for index, port in enumerate(model.inputs):
        shape = shape_of(port.get_partial_shape())
        if not shape:
            raise load_error(source, path, "ENABLE_BATCH_PADDING needs inputs with a batch dimension", _ONE_LACKS_IT)
        shapes[index] = [batch, *shape[1:]]
    _reshape(openvino, model, shapes, source, path)
    for port in model.outputs:
        shape = shape_of(port.get_partial_shape())
        if not shape or shape[0] != batch:
            cause = f"with batches of {batch}, one of its outputs is of shape {list(shape or ())}"
            raise load_error(source, path, cause, "leave ENABLE_BATCH_PADDING out")
    return PreparedModel(model, ports_of(model, path, source.config), batch)


_ONE_LACKS_IT = "one has no dimensions: leave it out"


def _with_any_batch(openvino: OpenVino, model: Any) -> Any | None:
    """The model with batches of any size where they are fixed at 1; None, and the model is spoilt, where it cannot do
    with others: a shape inside it says 1, too.
    """
    shapes = {}
    for index, port in enumerate(model.inputs):
        shape = shape_of(port.get_partial_shape())
        if shape and shape[0] == 1:
            shapes[index] = [-1, *shape[1:]]
    if not shapes:
        return model
    before = _output_shapes(model)
    try:
        model.reshape({index: openvino.module.PartialShape(shape) for index, shape in shapes.items()})
    except Exception:
        return None
    # Only the batch may have changed: a flattening, for instance, makes rows of what are none.
    wanted = [(-1, *shape[1:]) if shape and shape[0] in (1, -1) else None for shape in before]
    return model if _output_shapes(model) == wanted else None


def _output_shapes(model: Any) -> list[tuple[int, ...] | None]:
    return [shape_of(port.get_partial_shape()) for port in model.outputs]


def _reshape(openvino: OpenVino, model: Any, shapes: dict[int, list[int]], source: ModelSource, path: Path) -> None:
    try:
        model.reshape({index: openvino.module.PartialShape(shape) for index, shape in shapes.items()})
    except Exception as error:
        text = ", ".join(map(str, shapes.values()))
        cause = f"it cannot take inputs of shape {text}: {error_text(error)}"
        raise load_error(
            source, path, cause, "correct the input's dims, or leave RESHAPE_IO_LAYERS and ENABLE_BATCH_PADDING out"
        ) from error
