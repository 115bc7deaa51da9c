"""What an ONNX file says of its inputs and outputs."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atoll.backends.onnxruntime.types import data_type_of, is_optional
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError

logger = logging.getLogger(__name__)


def signature_of(session: Any, path: Path) -> ModelSignature:
    """The signature of a session's model. Whether it batches is left to the rule for all: the first dims decide.

    ONNX Runtime lists initializers that a caller may override apart from the inputs, so they are not among these. Of a
    tensor without a declared shape it says the same as of a scalar: both have the empty shape here, as on the real
    server.
    Outputs that the protocol has no type for are left out, with a warning, where there are others.
    Raises ConfigError for an input of such a type, and where no output is left.
    """
    inputs = []
    for one in session.get_inputs():
        found = _tensor(one)
        if found is None:
            raise ConfigError(
                f"input '{one.name}' of '{path}' is of type {one.type}, which the inference protocol does not have; "
                "export the model with tensors of numbers or strings"
            )
        inputs.append(found)
    outputs = []
    for one in session.get_outputs():
        found = _tensor(one)
        if found is None:
            text = f"output '{one.name}' of '{path}' is of type {one.type}, which the inference protocol does not have"
            # scikit-learn's exporter makes one tensor and one list of maps; the tensor alone is of use
            logger.warning("%s; it is left out (with skl2onnx, export with the option zipmap=False to have it)", text)
        else:
            outputs.append(found)
    if not outputs:
        raise ConfigError(f"no output of '{path}' is a tensor of numbers or strings: the model cannot be served")
    return ModelSignature(inputs=tuple(inputs), outputs=tuple(outputs))


def _tensor(argument: Any) -> TensorSignature | None:
    datatype = data_type_of(argument.type)
    if datatype is None:
        return None
    shape = _shape(argument.shape)
    return TensorSignature(name=argument.name, data_type=datatype, shape=shape, optional=is_optional(argument.type))


def _shape(dims: Sequence[int | str | None]) -> tuple[int, ...]:
    # a dim is a number, the name of a symbol, or None
    return tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in dims)
