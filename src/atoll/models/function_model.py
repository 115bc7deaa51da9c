"""A Python function as a model: what calls it with a batch's arrays, and checks what it returns."""

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atoll.backends.api import BackendModel, Capabilities, ChildRecipe, Instance, ModelSource, Placement
from atoll.config.problems import Problem, config_error, suggestion
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.models.function_tensors import BACKEND, FunctionTensor
from atoll.tensor import Array, DataType, as_bytes_array

logger = logging.getLogger(__name__)

Function = Callable[..., Any]


class FunctionBackend:
    """The backend of one function: `load` may be called again and again, `function` is the model.

    Raises InvalidArgumentError for what is no function, or cannot be called with these inputs.
    """

    name = BACKEND
    capabilities = Capabilities()
    default_model_filename = ""
    default_instance_count = 1

    def __init__(
        self,
        function: Function,
        inputs: Sequence[FunctionTensor],
        outputs: Sequence[FunctionTensor],
        *,
        batched: bool,
    ):
        self.label = _label(function)
        _demand_function(function, self.label)
        self._by_name = _is_called_by_name(function, inputs, self.label)
        self._function = function
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._batched = batched

    def signature(self, source: ModelSource) -> ModelSignature:
        """What the caller said."""
        return ModelSignature(
            inputs=tuple(self._signature(one) for one in self._inputs),
            outputs=tuple(self._signature(one) for one in self._outputs),
            batching=self._batched,
        )

    def _signature(self, tensor: FunctionTensor) -> TensorSignature:
        shape = (-1, *tensor.shape) if self._batched else tensor.shape
        return TensorSignature(name=tensor.name, data_type=tensor.datatype, shape=shape, optional=tensor.optional)

    def load(self, source: ModelSource) -> BackendModel:
        """There is nothing to load."""
        return self

    def child(self, source: ModelSource) -> ChildRecipe:
        """A function cannot be taken to another process."""
        problem = Problem(
            "parameters.isolation",
            f"{self.label} runs in the server: only models of files run in processes of their own",
            "process",
            "thread",
            "Remove it, or write a model.py.",
        )
        raise config_error([problem], f"model '{source.name}'")

    def instance(self, placement: Placement) -> Instance:
        """A thread that calls the function."""
        return self

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> Mapping[str, Array]:
        """Call the function once, with the batch."""
        given = {one.name: _given(inputs[one.name], one) for one in self._inputs if one.name in inputs}
        size = next((one.shape[0] for one in given.values()), None) if self._batched else None
        try:
            result = self._function(**given) if self._by_name else self._function(*given.values())
        except AtollError:
            raise
        except Exception as error:
            logger.exception("%s raised", self.label)
            raise InternalError(f"{self.label} raised {type(error).__name__}: {error}{_place(error)}") from error
        found = self._named(result)
        for name in output_names:
            if name not in found:
                raise InternalError(
                    f"{self.label} did not return the output '{name}', only {', '.join(found) or 'nothing'}"
                )
        return {one.name: self._checked(found[one.name], one, size) for one in self._outputs if one.name in found}

    def _named(self, result: Any) -> Mapping[str, Any]:
        """What the function returned, by output."""
        outputs = self._outputs
        if isinstance(result, Mapping):
            for name in result:
                if not any(one.name == name for one in outputs):
                    near = suggestion(str(name), [one.name for one in outputs])
                    raise InternalError(
                        f"{self.label} returned '{name}', which is none of the outputs {_names(outputs)}"
                        + (f"; did you mean '{near}'?" if near else "")
                    )
            return result
        if result is None:
            raise InternalError(f"{self.label} returned None; expected {self._expected()}")
        if len(outputs) == 1:
            return {outputs[0].name: result[0] if isinstance(result, tuple) and len(result) == 1 else result}
        if isinstance(result, (tuple, list)) and len(result) == len(outputs):
            return {one.name: value for one, value in zip(outputs, result, strict=True)}
        found = type(result).__name__
        if isinstance(result, (tuple, list)):
            found += f" of {len(result)}"
        raise InternalError(f"{self.label} returned a {found}; expected {self._expected()}")

    def _expected(self) -> str:
        if len(self._outputs) == 1:
            return f"an array, or a dict of '{self._outputs[0].name}' and an array"
        return f"a dict of {_names(self._outputs)} and arrays, or {len(self._outputs)} arrays in this order"

    def _checked(self, value: Any, tensor: FunctionTensor, size: int | None) -> Array:
        array = self._array(value, tensor)
        shape = array.shape
        if self._batched:
            if not shape or (size is not None and shape[0] != size):
                raise InternalError(
                    f"{self.label} returned {list(shape)} for the output '{tensor.name}' of a batch of {size}: the "
                    "first dimension must be the batch's; with batching=False the function is called for one request "
                    "at a time, without that dimension"
                )
            shape = shape[1:]
        if len(shape) != len(tensor.shape) or any(
            dim not in (-1, found) for dim, found in zip(tensor.shape, shape, strict=True)
        ):
            raise InternalError(
                f"{self.label} returned {list(shape)} for the output '{tensor.name}', whose shape is "
                f"{list(tensor.shape)}" + (" (both without the batch dimension)" if self._batched else "")
            )
        return array

    def _array(self, value: Any, tensor: FunctionTensor) -> Array:
        """An array keeps its type, and must have the right one; numbers and lists take it."""
        datatype = tensor.datatype
        if value.__class__ is np.ndarray and value.dtype is datatype.dtype and datatype is not DataType.BYTES:
            found: Array = value
            return found
        if not isinstance(value, (np.ndarray, np.generic)):
            try:
                if hasattr(value, "__array__") or hasattr(value, "__dlpack__"):  # another library's
                    value = np.asarray(value)
                else:
                    return as_bytes_array(value) if datatype is DataType.BYTES else np.asarray(value, datatype.dtype)
            except Exception as error:  # whatever its conversion raises
                raise InternalError(
                    f"{self.label} returned a {type(value).__name__} for the output '{tensor.name}' that cannot be "
                    f"made an array of {datatype.protocol_name}: {error}"
                ) from error
        array: Array = np.asarray(value)
        if datatype is DataType.BYTES and array.dtype.kind in "OSUT":
            return as_bytes_array(array)
        if datatype is DataType.BF16 and array.dtype.name == "bfloat16":
            return array.view(np.uint16)
        if array.dtype == datatype.dtype:
            return array
        if array.dtype.newbyteorder("=") == datatype.dtype:
            return array.astype(datatype.dtype)
        raise InternalError(
            f"{self.label} returned {array.dtype} for the output '{tensor.name}', which is {datatype.protocol_name} "
            f"({datatype.dtype}): convert it with .astype, or correct the output's data type"
        )

    def close(self) -> None:
        """The function is the caller's."""


def _given(array: Array, tensor: FunctionTensor) -> Array:
    """What the function sees: it may be the client's own memory, or the caller's."""
    if tensor.text:
        decoded = np.empty(array.size, np.object_)
        try:
            decoded[:] = [element.decode() for element in array.ravel().tolist()]
        except UnicodeDecodeError as error:
            raise InvalidArgumentError(f"input '{tensor.name}' is text, and not in UTF-8: {error}") from None
        return decoded.reshape(array.shape)
    view = array.view()
    view.flags.writeable = False
    return view


def _label(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    return f"function '{name or type(function).__name__}'"


def _names(tensors: Sequence[FunctionTensor]) -> str:
    return ", ".join(f"'{one.name}'" for one in tensors)


def _demand_function(function: Any, label: str) -> None:
    if not callable(function):
        raise InvalidArgumentError(f"expected a function, found {type(function).__name__}")
    kinds = (function, getattr(type(function), "__call__", None), getattr(function, "func", None))  # noqa: B004
    if any(map(inspect.iscoroutinefunction, kinds)):
        raise InvalidArgumentError(
            f"{label} is async: a function is called by a thread of the server that waits for what it returns. Give a "
            "plain function, with several instances where calls wait; or write a model.py, whose execute can be async"
        )
    if any(map(inspect.isgeneratorfunction, kinds)) or any(map(inspect.isasyncgenfunction, kinds)):
        raise InvalidArgumentError(
            f"{label} is a generator: a function answers a request once. A model.py can send several responses "
            "(decoupled)"
        )


def _is_called_by_name(function: Function, inputs: Sequence[FunctionTensor], label: str) -> bool:
    """Whether its inputs are keyword arguments; else they are positional ones, in their order."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return False  # one written in C that says nothing of its parameters
    if all(one.kind is one.POSITIONAL_ONLY or one.default is not one.empty for one in signature.parameters.values()):
        positional = sum(one.kind is one.POSITIONAL_ONLY for one in signature.parameters.values())
        if positional and not any(one.optional for one in inputs):
            if positional != len(inputs):
                raise InvalidArgumentError(f"{label} takes {positional} arguments, and there are {len(inputs)} inputs")
            return False
    try:
        for chosen in (inputs, [one for one in inputs if not one.optional]):
            signature.bind(**{one.name: None for one in chosen})
    except TypeError as error:
        raise InvalidArgumentError(
            f"{label} cannot be called with its inputs, as it is {signature} and they are {_names(inputs) or 'none'}: "
            f"{error}. Each input is a keyword argument: name the parameters after the inputs, or take **inputs; an "
            "optional input needs a default"
        ) from None
    return True


def _place(error: BaseException) -> str:
    """Where it was raised."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if trace.tb_frame.f_globals.get("__name__") != __name__:
            place = f" ({Path(code.co_filename).name}, line {trace.tb_lineno}, in {code.co_name})"
        trace = trace.tb_next
    return place
