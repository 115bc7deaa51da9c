"""One execution context: a batch's arrays into a module as tensors, and its tensors out again as arrays."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atoll.backends.pytorch.calls import Call
from atoll.backends.pytorch.errors import execution_error
from atoll.backends.pytorch.results import Results
from atoll.backends.pytorch.threads import THIS_THREAD, use_threads
from atoll.backends.text import texts
from atoll.tensor import Array, DataType

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Feed:
    """An input: how its array becomes what the module takes."""

    name: str
    convert: Callable[[Array], Any]


class TorchInstance:
    """Runs batches on the CPU, or on whatever devices the module has chosen.

    A tensor that goes in is a view of the engine's array, unless the model writes to its inputs. What comes out is the
    tensor's own memory, which the array keeps alive, unless somebody else holds it too.
    """

    def __init__(
        self,
        torch: Any,
        name: str,
        call: Call,
        feeds: Sequence[Feed],
        results: Results,
        mode: Any,
        *,
        threads: int,
        copies: bool,
        watches: bool,
        may_lack: bool,
    ):
        self._torch = torch
        self._name = name
        self._call = call
        self._feeds = tuple((one.name, one.convert) for one in feeds)
        self._results = results
        self._mode = mode
        self._threads = threads
        self._copies = copies
        self._watches = watches
        self._may_lack = may_lack

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch; see `atoll.backends.api.Instance`."""
        if THIS_THREAD.count != self._threads:
            use_threads(self._torch, self._threads)
        try:
            tensors = self._fed(inputs)
            given = list(tensors)  # a call may empty its list
            with self._mode:
                result = self._call(tensors)
                arrays = self._results.arrays(result, output_names, given)
            if self._watches:
                self._look(given)
            return arrays
        except Exception as error:
            raise execution_error(error) from error

    def close(self) -> None:
        """Let go of the module; others may hold it too."""
        del self._call, self._results, self._feeds, self._mode

    def _fed(self, inputs: Mapping[str, Array]) -> list[Any]:
        if self._may_lack or self._copies:
            return [self._one(inputs.get(name), convert) for name, convert in self._feeds]
        return [convert(inputs[name]) for name, convert in self._feeds]

    def _one(self, array: Array | None, convert: Callable[[Array], Any]) -> Any:
        if array is None:
            return None
        return convert(array.copy() if self._copies else array)

    def _look(self, tensors: Sequence[Any]) -> None:
        """From the first execution on that has written to an input, the module gets copies."""
        written = any(one._version for one in tensors if isinstance(one, self._torch.Tensor))  # noqa: SLF001
        if written:
            logger.info("instance '%s': the module writes to its inputs, and gets copies of them", self._name)
            self._watches = False
        self._copies = written


def converter(torch: Any, name: str, datatype: DataType) -> Callable[[Array], Any]:
    """How arrays of an input become tensors, or lists of text, without copying."""
    if datatype is DataType.BYTES:
        return lambda array: texts(name, array)
    if datatype is DataType.BF16:
        return lambda array: torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    convert: Callable[[Array], Any] = torch.from_numpy
    return convert
