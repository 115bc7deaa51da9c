"""What is wrong with a configuration's inputs and outputs, and with those made from a batch."""

from collections.abc import Iterator, Sequence

from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.config.platforms import backend_of
from atoll.config.problems import Problem
from atoll.config.validation.batch_tensors import batch_tensor_problems
from atoll.config.validation.padding import padding_problems
from atoll.tensor import DataType

_DIMENSION = "integer >= 1, or -1 to indicate a variable-size dimension"


def tensor_problems(config: ModelConfig, name: str, complete: bool) -> list[Problem]:
    """All of it; unless `complete`, types and dims that are missing are left to autofill."""
    problems: list[Problem] = []
    sides: tuple[tuple[str, Sequence[ModelInput | ModelOutput]], ...] = (
        ("input", config.input),
        ("output", config.output),
    )
    for kind, tensors in sides:
        problems += _duplicates(kind, tensors, name)
        for index, tensor in enumerate(tensors):
            problems += _tensor(f"{kind}[{index}]", f"model {kind}", tensor, config, name, complete)
    problems += batch_tensor_problems(config, name, complete)
    problems += padding_problems(config, complete)
    return problems


def _duplicates(kind: str, tensors: Sequence[ModelInput | ModelOutput], name: str) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, tensor in enumerate(tensors):
        if tensor.name and tensor.name in seen:
            message = f"model {kind} '{tensor.name}' is specified more than once for {name}"
            found = f"the name of {kind}[{seen[tensor.name]}] again"
            yield Problem(f"{kind}[{index}].name", message, found, "a name of its own", "Remove or rename one of them.")
        seen.setdefault(tensor.name, index)


def _tensor(
    path: str, kind: str, tensor: ModelInput | ModelOutput, config: ModelConfig, name: str, complete: bool
) -> Iterator[Problem]:
    if not tensor.name:
        message = f"{kind} must specify 'name' for {name}"
        yield Problem(f"{path}.name", message, "no name", "the tensor's name in the model", "Add it.")
    label = f"{kind} '{tensor.name}'"
    if tensor.data_type is DataType.INVALID and complete:
        message = f"{label} must specify 'data_type' for {name}"
        yield Problem(
            f"{path}.data_type", message, "TYPE_INVALID or nothing", "its type", "Add data_type: TYPE_FP32, ..."
        )
    if not tensor.dims and complete:
        message = f"{label} must specify 'dims' for {name}"
        remedy = "Add dims, with -1 for any size"
        if config.max_batch_size > 0:
            remedy += " and without the batch dimension; dims: [1] with reshape { shape: [] } if it has no other"
        yield Problem(f"{path}.dims", message, "no dims", "at least one", remedy + ".")
    for index, dim in enumerate(tensor.dims):
        if dim == 0 or dim < -1:
            message = f"{label} dimension must be {_DIMENSION} for {name}"
            yield Problem(f"{path}.dims[{index}]", message, str(dim), "1 or more, or -1", "Use -1 for any size.")
    if isinstance(tensor, ModelInput) and tensor.format is not ModelInput.Format.FORMAT_NONE and len(tensor.dims) != 3:
        message = f"{kind} NHWC/NCHW require 3 dims for {name}"
        remedy = "Remove the format, or give the three dims of one image."
        yield Problem(f"{path}.format", message, f"{len(tensor.dims)} dims", "3", remedy)
    if tensor.is_shape_tensor and backend_of(config) != "tensorrt":
        message = f"shape tensors are only supported for TensorRT platform for {name}"
        yield Problem(f"{path}.is_shape_tensor", message, "true", "false", "Remove it.")
    if tensor.reshape is not None:
        yield from _reshape(f"{path}.reshape.shape", label, tensor.dims, tensor.reshape.shape, name)


def _reshape(path: str, label: str, dims: tuple[int, ...], shape: tuple[int, ...], name: str) -> Iterator[Problem]:
    """A reshape keeps the number of elements, piece by piece between the dims of any size.

    The real server refuses an empty shape without a batch dimension; here that is how clients reach a scalar tensor.
    """
    both = f"dims {list(dims)} and shape {list(shape)}"
    for dim in shape:
        if dim == 0 or dim < -1:
            message = f"{label} reshape dimensions must be {_DIMENSION} for {name}"
            yield Problem(path, message, str(dim), "1 or more, or -1", "Use -1 for any size.")
            return
    if any(dim == 0 or dim < -1 for dim in dims) or not dims:
        return
    wanted, offered = _pieces(dims), _pieces(shape)
    if len(wanted) > 1 and len(offered) > 1 and len(wanted) != len(offered):
        message = f"{label} has different number of variable-size dimensions for dims and reshape for {name}"
        yield Problem(path, message, both, "as many -1 in the one as in the other", "")
    elif wanted != offered:
        message = f"{label} has different size for dims and reshape for {name}"
        expected = "the same number of elements, also on both sides of each -1"
        yield Problem(path, message, both, expected, "")


def _pieces(shape: tuple[int, ...]) -> list[int]:
    """The number of elements before, between and behind the dims of any size."""
    pieces = [1]
    for dim in shape:
        if dim == -1:
            pieces.append(1)
        else:
            pieces[-1] *= dim
    return pieces
