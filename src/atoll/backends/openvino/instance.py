"""One execution context: a batch's arrays into an OpenVINO infer request and out of it again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atoll.backends.openvino.errors import error_text, execution_error
from atoll.backends.openvino.ports import Port, Ports
from atoll.backends.openvino.runtime import OpenVino
from atoll.backends.openvino.strings import string_tensor, strings_of
from atoll.errors import InvalidArgumentError
from atoll.tensor import Array, DataType

SMALL_OUTPUT = 32 << 10  # bytes; up to here a copy is cheaper than memory of its own for the next run


class OpenVinoInstance:
    """Runs batches on an infer request of its own. The GIL is free while it runs.

    The request reads the engine's arrays where they are. What it writes would be overwritten by the next run: small
    outputs are copied, large ones are given away, and the request gets other memory to write to.
    """

    def __init__(self, openvino: OpenVino, request: Any, ports: Ports):
        module = openvino.module
        self._openvino = openvino
        self._request = request
        self._tensor = module.Tensor
        self._shape = module.Shape
        self._inputs = {one.name: one for one in ports.inputs}
        self._outputs = {one.name: one for one in ports.outputs}
        self._strings = any(one.data_type is DataType.BYTES for one in ports.outputs)
        self._remembers = bool(request.query_state())

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch; see `atoll.backends.api.Instance`.

        Raises InvalidArgumentError where an input is missing, of a size that the model cannot take, or a string that
        OpenVINO cannot.
        """
        if len(inputs) != len(self._inputs):
            missing = ", ".join(sorted(self._inputs.keys() - inputs.keys()))
            raise InvalidArgumentError(f"input {missing} is missing: an OpenVINO model needs all of its inputs")
        try:
            return self._execute(inputs, output_names)
        except Exception as error:
            raise execution_error(error) from error

    def close(self) -> None:
        """Let go of the request; the model holds what it ran on."""
        del self._request

    def _execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        request = self._request
        for name, array in inputs.items():
            port = self._inputs[name]
            tensor = self._given(port, array)
            try:
                request.set_input_tensor(port.index, tensor)
            except Exception as error:  # a dimension of the model may have a largest size
                raise InvalidArgumentError(f"input '{name}': {error_text(error)}") from error
        if self._remembers:
            request.reset_state()
        if self._strings:
            # Unlike `infer`, these return no outputs: strings would be converted all together.
            request.start_async({})
            request.wait()
        else:
            self._openvino.infer(request, {}, share_outputs=True, decode_strings=False)
        found: dict[str, Array] = {}
        large = []
        for name in output_names:
            port = self._outputs[name]
            array = self._found(port)
            if port.data_type is DataType.BYTES:
                found[name] = array
            # An input that comes out unchanged is the client's memory.
            elif array.nbytes <= SMALL_OUTPUT or any(np.may_share_memory(array, one) for one in inputs.values()):
                found[name] = array.copy()
            else:
                found[name] = array
                large.append(array)
        if large:
            self._give_away(large)
        return found

    def _give_away(self, arrays: list[Array]) -> None:
        """Have the next run write elsewhere, also where outputs that nobody wants lie in the same memory."""
        ports = self._outputs.values()
        for port, array in [(port, self._found(port)) for port in ports if port.data_type is not DataType.BYTES]:
            if any(np.may_share_memory(array, one) for one in arrays):
                shape = port.shape
                if shape is None or -1 in shape:
                    shape = (0,) * array.ndim
                self._request.set_output_tensor(port.index, self._tensor(port.element_type, self._shape(shape)))

    def _given(self, port: Port, array: Array) -> Any:
        if port.data_type is DataType.BYTES:
            return string_tensor(self._openvino.module, port.name, array)
        if not array.size or not array.ndim:  # OpenVINO 2025.0 cannot take these as below
            tensor = self._tensor(port.element_type, self._shape(array.shape))
            if array.size:
                tensor.data[...] = array.view(tensor.data.dtype)
            return tensor
        # With shape and type it takes read-only arrays too, as they are; it holds no reference to them.
        return self._tensor(array, self._shape(array.shape), port.element_type)

    def _found(self, port: Port) -> Array:
        tensor = self._request.get_output_tensor(port.index)
        if port.data_type is DataType.BYTES:
            return strings_of(self._openvino.module, tensor)
        array: Array = tensor.data
        return array.view(np.uint16) if port.data_type is DataType.BF16 else array


class PaddingInstance(OpenVinoInstance):
    """The same for a model compiled for batches of one size, to which smaller ones are filled up with zeros."""

    def __init__(self, openvino: OpenVino, request: Any, ports: Ports, batch: int):
        super().__init__(openvino, request, ports)
        self._batch = batch

    def _execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        size = next((len(one) for one in inputs.values()), self._batch)
        if size == self._batch:
            return super()._execute(inputs, output_names)
        found = super()._execute({name: self._filled(one) for name, one in inputs.items()}, output_names)
        return {name: one[:size] for name, one in found.items()}

    def _filled(self, array: Array) -> Array:
        filled = np.full((self._batch, *array.shape[1:]), b"" if array.dtype == object else 0, array.dtype)
        filled[: len(array)] = array
        return filled
