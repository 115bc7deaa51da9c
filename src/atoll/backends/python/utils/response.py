"""`InferenceResponse`: the outputs of one request, or the error in their place."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence

from atoll.backends.python.utils.arguments import mismatch
from atoll.backends.python.utils.errors import TritonError, TritonModelException
from atoll.backends.python.utils.parameters import Parameter, checked_parameters
from atoll.backends.python.utils.tensor import Tensor
from atoll.tensor import Tensor as Inner

_SIGNATURE = (
    "c_python_backend_utils.InferenceResponse(output_tensors: List[c_python_backend_utils.Tensor] = [], "
    "error: c_python_backend_utils.TritonError = None)"
)


class InferenceResponse:
    """One response: its output tensors, or an error, and parameters that go to the client beside them.

    Raises TypeError where `output_tensors` is not a list or tuple of tensors or `error` is not a TritonError, and
    TritonModelException where a tensor is None or a parameter's value is not a bool, int, float or str.
    """

    __slots__ = ("_tensors", "error_or_none", "parameter_values")

    def __init__(
        self,
        output_tensors: Sequence[Tensor] = (),
        error: TritonError | None = None,
        parameters: Mapping[str, Parameter] | None = None,
    ):
        if type(output_tensors) is not list and not isinstance(output_tensors, (list, tuple)):
            raise mismatch(_SIGNATURE, (output_tensors, error))
        for tensor in output_tensors:
            if type(tensor) is not Tensor and not isinstance(tensor, Tensor):
                if tensor is None:
                    raise TritonModelException("Output tensor for inference response should not be empty.")
                raise mismatch(_SIGNATURE, (output_tensors, error))
        if error is not None and not isinstance(error, TritonError):
            raise mismatch(_SIGNATURE, (output_tensors, error))
        self._tensors = list(output_tensors)
        self.error_or_none = error
        self.parameter_values = checked_parameters(parameters, floats=True) if parameters is not None else {}

    @classmethod
    def received(cls, tensors: Iterable[Inner], parameters: dict[str, Parameter] | None = None) -> InferenceResponse:
        """A response that came from the server, as the model that asked for it sees it."""
        self = cls.__new__(cls)
        self._tensors = [Tensor.received(tensor) for tensor in tensors]
        self.error_or_none = None
        self.parameter_values = parameters if parameters is not None else {}
        return self

    def output_tensors(self) -> list[Tensor]:
        """The outputs; none, usually, where there is an error."""
        return list(self._tensors)

    def has_error(self) -> bool:
        """Whether it is an error."""
        return self.error_or_none is not None

    def error(self) -> TritonError | None:
        """The error, if it is one."""
        return self.error_or_none

    def parameters(self) -> str:
        """The parameters as the text of a JSON object."""
        return json.dumps(self.parameter_values)

    @property
    def tensors(self) -> list[Inner]:
        """The outputs as the server takes them."""
        return [tensor.inner for tensor in self._tensors]

    def pruned(self, names: Collection[str]) -> InferenceResponse:
        """The response with no other outputs than these; itself, where it has no others."""
        for tensor in self._tensors:
            if tensor.inner.name not in names:
                break
        else:
            return self
        other = InferenceResponse.__new__(InferenceResponse)
        other._tensors = [tensor for tensor in self._tensors if tensor.inner.name in names]  # noqa: SLF001 - another of these
        other.error_or_none = self.error_or_none
        other.parameter_values = self.parameter_values
        return other
