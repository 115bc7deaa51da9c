"""A loaded model in whichever form: what its instances need of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.backends.pytorch.calls import Call
from atoll.backends.pytorch.devices import Modules
from atoll.backends.pytorch.names import Forward
from atoll.config.signature import ModelSignature


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """`signature`: what the file says, under its own names; None where there is nothing but code.

    `call(module, bound)` says how tensors go into a module, where `bound` has an input's name for each argument.

    `copies_inputs`: the model writes to what it is given, or may and cannot be watched. `watches_inputs`: it may, and
    PyTorch notes it. `copies_outputs`: it may keep what it returns. `native`: what it runs is no user's Python code.
    `close`: frees what is the model's besides its modules.
    """

    forward: Forward
    modules: Modules
    call: Callable[[Any, Sequence[str | None]], Call]
    copies_inputs: bool
    watches_inputs: bool
    copies_outputs: bool
    native: bool
    signature: ModelSignature | None = None
    close: Callable[[], None] = lambda: None
