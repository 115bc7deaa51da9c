"""One execution context: a batch's arrays into a session and out of it again."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atoll.backends.tensorflow.errors import execution_error
from atoll.backends.tensorflow.session import ModelSession, Run
from atoll.config.signature import ModelSignature
from atoll.tensor import Array, DataType

_Wish = tuple[tuple[str, ...], tuple[str, ...]]
_MAX_WISHES = 32


class TensorFlowInstance:
    """Runs batches of a model without BF16 tensors: numpy holds all others as TensorFlow does, BYTES as `bytes` of any
    content.

    TensorFlow reads inputs where they lie if they lie at a multiple of 64 bytes, and copies them if not; outputs are
    read-only views of its own memory, freed when the last view of it is. The GIL is free while the session runs.
    """

    def __init__(self, session: ModelSession, signature: ModelSignature, *, blame_values: bool):
        self._session = session
        self._inputs = tuple(one.name for one in signature.inputs)
        self._blame_values = blame_values
        self._runs: dict[_Wish, tuple[Run, tuple[str, ...]]] = {}

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch; see `atoll.backends.api.Instance`."""
        names = self._inputs
        if len(inputs) != len(names):  # what is absent has a default in the graph
            names = tuple(one for one in names if one in inputs)
        try:
            wish = names, tuple(output_names)
            run, given = self._runs.get(wish) or self._found(wish)
            fed = [inputs[one] for one in names]
            return {name: _own(array, fed) for name, array in zip(given, run(*fed), strict=True)}
        except Exception as error:
            raise execution_error(error, blame_values=self._blame_values) from error

    def close(self) -> None:
        """Let go of the session; the model holds it too."""
        self._runs.clear()
        del self._session

    def _found(self, wish: _Wish) -> tuple[Run, tuple[str, ...]]:
        if len(self._runs) >= _MAX_WISHES:
            self._runs.clear()
        found = self._runs[wish] = self._session.run_of(*wish)
        return found


class Bf16Instance(TensorFlowInstance):
    """The same for a model with BF16 tensors, which are uint16 arrays here and ml_dtypes' bfloat16 in TensorFlow."""

    def __init__(self, session: ModelSession, signature: ModelSignature, *, blame_values: bool, bfloat16: Any):
        super().__init__(session, signature, blame_values=blame_values)
        self._bfloat16 = bfloat16
        self._bf16_inputs = frozenset(one.name for one in signature.inputs if one.data_type is DataType.BF16)

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch; see `atoll.backends.api.Instance`."""
        fed = {
            name: array.view(self._bfloat16) if name in self._bf16_inputs else array for name, array in inputs.items()
        }
        result = super().execute(fed, output_names)
        for name, array in result.items():
            if array.dtype == self._bfloat16:
                result[name] = array.view(np.uint16)
        return result


def _own(array: Any, fed: Sequence[Array]) -> Array:
    """An output that outlives the batch, and that nobody writes to: a graph may give out an input as it came in, and
    parts of its own constants and variables as they lie there.
    """
    if type(array) is not np.ndarray:
        return _scalar(array)
    if array.dtype != np.object_:
        for one in fed:
            if np.may_share_memory(array, one):
                return array.copy()
        array.flags.writeable = False
    return array


def _scalar(element: Any) -> Array:
    if isinstance(element, np.generic) and not isinstance(element, np.bytes_):
        return np.asarray(element)
    array = np.empty((), np.object_)
    array[()] = bytes(element)
    return array
