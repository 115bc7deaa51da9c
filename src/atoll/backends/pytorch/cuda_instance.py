"""The same on a GPU: a stream for each instance, copies that do not wait for one another, one wait at the end.

Written against PyTorch's documented interface; see docs/pytorch.md for what has been run.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from atoll.backends.pytorch.instance import TorchInstance
from atoll.errors import AtollError
from atoll.tensor import Array


def onto(torch: Any, device: str, stream: Any, convert: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """A conversion whose tensors go to the device. Where the engine's batch lies in pinned memory, the copy runs beside
    others; else the driver has taken the array's content when it returns.
    """

    def converted(array: Array) -> Any:
        tensor = convert(array)
        if not isinstance(tensor, torch.Tensor):
            return tensor
        with torch.cuda.stream(stream):
            return tensor.to(device, non_blocking=True)

    return converted


def fetcher(torch: Any, stream: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Brings an execution's outputs into pinned memory of the host, and waits once until all of them are there."""
    event = torch.cuda.Event(blocking=True)

    def fetch(values: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.device.type == "cuda":
                target = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
                found[name] = target.copy_(value, non_blocking=True)
            else:
                found[name] = value
        event.record(stream)
        event.synchronize()
        return found

    return fetch


class CudaInstance(TorchInstance):
    """Runs batches on one GPU; its mode has the stream, its results the copies back."""

    def __init__(self, *arguments: Any, stream: Any, clean_cache: bool, **named: Any):
        super().__init__(*arguments, **named)
        self._stream = stream
        self._clean_cache = clean_cache

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> dict[str, Array]:
        """Run one batch; see `atoll.backends.api.Instance`."""
        try:
            return super().execute(inputs, output_names)
        except AtollError:
            with suppress(RuntimeError):  # said already
                self._stream.synchronize()  # copies from the engine's arrays may still be on their way
            raise
        finally:
            if self._clean_cache:
                self._torch.cuda.empty_cache()
