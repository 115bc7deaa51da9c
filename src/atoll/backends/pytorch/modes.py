"""The modes that an execution runs in: without gradients, with autocast, on a stream."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from atoll.backends.pytorch.settings import ModelSettings

Mode = AbstractContextManager[Any]


class Several:
    """Some modes one inside the other, to be entered again and again by one thread at a time."""

    def __init__(self, makers: Sequence[Callable[[], Mode]]):
        self._makers = makers
        self._entered = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            for make in self._makers:
                stack.enter_context(make())
            self._entered = stack.pop_all()

    def __exit__(self, *error: Any) -> None:
        self._entered.__exit__(*error)


def autocast_type(torch: Any, settings: ModelSettings) -> Any:
    """The type that a model computes in where it can, None where nothing is cast."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.autocast)


def mode_of(torch: Any, settings: ModelSettings, device: str, stream: Any = None) -> Any:
    """What `with` is given round each execution; it can be entered again."""
    quiet = torch.inference_mode if settings.inference_mode else torch.no_grad
    makers: list[Callable[[], Mode]] = []
    if stream is not None:
        makers += [lambda: torch.cuda.device(device), lambda: torch.cuda.stream(stream)]
    dtype = autocast_type(torch, settings)
    if dtype is not None:
        kind = "cuda" if device.startswith("cuda") else "cpu"
        makers.append(lambda: torch.autocast(kind, dtype=dtype))
    if not settings.optimized_execution:
        makers.append(lambda: torch.jit.optimized_execution(False))
    if not makers:
        return quiet()  # entering one again is half the price of making it
    return Several([quiet, *makers])
