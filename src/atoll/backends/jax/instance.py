"""One execution context: a batch's arrays into a compiled program and out of it again."""

from collections.abc import Mapping, Sequence

import numpy as np

from atoll.backends.error_text import bounded_text
from atoll.backends.jax.artifact import Artifact
from atoll.backends.jax.programs import Programs
from atoll.backends.jax.settings import filled_up
from atoll.errors import AtollError, InternalError, InvalidArgumentError
from atoll.tensor import Array, DataType


class JaxInstance:
    """Runs batches. XLA reads the engine's arrays where they lie as it wants them, and the outputs are views of XLA's
    memory, which lives as long as they do. The GIL is free while a program runs.

    A batch is filled up with zeros to the next of the sizes that are compiled, and the surplus rows of the outputs are
    cut off.
    """

    def __init__(self, artifact: Artifact, programs: Programs, sizes: Sequence[int]):
        signature = artifact.signature
        self._programs = programs
        self._sizes = sizes
        self._inputs = tuple(one.name for one in signature.inputs)
        types = zip(signature.inputs, artifact.exported.in_avals, strict=True)
        self._bf16 = {one.name: aval.dtype for one, aval in types if one.data_type is DataType.BF16}
        self._places = {one.name: number for number, one in enumerate(signature.outputs)}
        self._bf16_outputs = {one.name for one in signature.outputs if one.data_type is DataType.BF16}

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch; see `atoll.backends.api.Instance`."""
        try:
            arrays = [inputs[name] for name in self._inputs]
        except KeyError as error:
            raise InvalidArgumentError(f"input {error} is missing: the function has no default for it") from None
        if self._bf16:
            named = zip(self._inputs, arrays, strict=True)
            arrays = [one.view(self._bf16[name]) if name in self._bf16 else one for name, one in named]
        rows = size = 0
        if self._sizes:
            rows = len(arrays[0])
            size = filled_up(rows, self._sizes)
            if size != rows:
                arrays = [_filled(one, size) for one in arrays]
        try:
            program = self._programs.find(tuple([one.shape for one in arrays]))
            results = self._programs.run(program, arrays)
            found = {name: np.asarray(results[self._places[name]]) for name in output_names}
        except AtollError:
            raise
        except Exception as error:
            raise InternalError(f"jax error: {bounded_text(error)}") from error
        for name in self._bf16_outputs.intersection(found):
            found[name] = found[name].view(np.uint16)
        if size != rows:
            return {name: one[:rows] for name, one in found.items()}
        return found

    def close(self) -> None:
        """Let go of the programs; the model holds them too."""
        del self._programs


def _filled(array: Array, size: int) -> Array:
    whole = np.empty((size, *array.shape[1:]), array.dtype)
    whole[: len(array)] = array
    whole[len(array) :] = 0
    return whole
