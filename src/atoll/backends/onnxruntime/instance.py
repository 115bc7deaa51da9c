"""One execution context: a batch's arrays into an ONNX Runtime session and out of it again."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from atoll.backends.onnxruntime.model_file import execution_error
from atoll.backends.onnxruntime.types import BFLOAT16
from atoll.backends.text import bytes_array, text_array
from atoll.tensor import Array, DataType, element_count

Tensors = Mapping[str, DataType]


class OnnxInstance:
    """Runs batches of a model whose arrays ONNX Runtime takes and gives as they are: all types but BYTES and BF16.

    Neither way copies: the session reads the engine's arrays, and an output array's memory is the session's, freed when
    the last view of it is. The GIL is free while the session runs.
    """

    def __init__(self, onnxruntime: Any, session: Any, run_options: Any):
        # The binding's own `run`: the public one walks over all inputs, which costs 2 us and more, and on some failures
        # prints, remakes the session and tries again. What it checks, the engine has checked.
        self._run: Callable[..., Any] = session._sess.run  # noqa: SLF001
        self._run_options = run_options
        self._onnxruntime = onnxruntime
        self._session = session

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch; see `atoll.backends.api.Instance`."""
        feed = inputs if type(inputs) is dict else dict(inputs)
        try:
            return dict(zip(output_names, self._run(output_names, feed, self._run_options), strict=True))
        except Exception as error:
            raise execution_error(error) from error

    def close(self) -> None:
        """Let go of the session; the model holds it too."""
        del self._run, self._session


class ConvertingInstance(OnnxInstance):
    """The same for a model with BYTES or BF16 tensors, which numpy holds otherwise than ONNX Runtime."""

    def __init__(self, onnxruntime: Any, session: Any, run_options: Any, inputs: Tensors, outputs: Tensors):
        super().__init__(onnxruntime, session, run_options)
        self._inputs = inputs
        self._outputs = outputs

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch. Raises InvalidArgumentError where an element of a BYTES input is not UTF-8."""
        feed = {name: self._fed(name, array) for name, array in inputs.items()}
        bf16 = [name for name in output_names if self._outputs.get(name) is DataType.BF16]
        result = self._execute_bound(feed, output_names) if bf16 else super().execute(feed, output_names)
        for name in output_names:
            if self._outputs.get(name) is DataType.BYTES:
                result[name] = bytes_array(result[name].ravel().tolist(), result[name].shape)
        return result

    def _fed(self, name: str, array: Array) -> Any:
        datatype = self._inputs.get(name)
        if datatype is DataType.BYTES:
            return text_array(name, array)
        if datatype is DataType.BF16:
            return self._onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, BFLOAT16)
        return array

    def _execute_bound(self, feed: Mapping[str, Any], output_names: Sequence[str]) -> dict[str, Array]:
        # `run` cannot return BF16, which numpy lacks; a binding's outputs are OrtValues, whose memory can be read as it
        # is. A binding is made for each run because a second run would write into the outputs of the first.
        value_class = self._onnxruntime.OrtValue
        try:
            binding = self._session.io_binding()
            for name, value in feed.items():
                bound = value if isinstance(value, value_class) else value_class.ortvalue_from_numpy(value)
                binding.bind_ortvalue_input(name, bound)
            for name in output_names:
                binding.bind_output(name)
            self._session.run_with_iobinding(binding, self._run_options)
            return {
                name: self._taken(name, value) for name, value in zip(output_names, binding.get_outputs(), strict=True)
            }
        except Exception as error:
            raise execution_error(error) from error

    def _taken(self, name: str, value: Any) -> Array:
        if self._outputs.get(name) is not DataType.BF16:
            array: Array = value.numpy()
            return array
        return bit_patterns(value)


def bit_patterns(value: Any) -> Array:
    """A 16-bit OrtValue in the CPU's memory as a uint16 array over that same memory, which it keeps alive."""
    shape = tuple(value.shape())
    count = element_count(shape)
    if not count:
        return np.empty(shape, np.uint16)
    memory: Any = (ctypes.c_uint16 * count).from_address(value.data_ptr())
    memory.owner = value
    patterns: Array = np.frombuffer(memory, np.uint16)
    return patterns.reshape(shape)
