"""The programs that XLA has compiled of a model on one device: one for each set of shapes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from atoll.backends.error_text import bounded_text
from atoll.backends.jax.artifact import Artifact
from atoll.backends.jax.runtime import Jax
from atoll.errors import InvalidArgumentError
from atoll.tensor import Array

Shapes = tuple[tuple[int, ...], ...]
Program = Callable[..., Sequence[Any]]


class Programs:
    """Thread-safe. Of the programs that are compiled on demand, the `most` used last are kept."""

    def __init__(self, jax: Jax, artifact: Artifact, device: Any, most: int):
        self._jax = jax
        self._artifact = artifact
        self._device = device
        self._most = most
        self._numbers = jax.numbers(artifact.is_wide)
        self._lock = threading.Lock()
        self._kept: dict[Shapes, Program] = {}
        self._recent: OrderedDict[Shapes, Program] = OrderedDict()

    def keep(self, shapes: Shapes) -> None:
        """Compile for these shapes, unless that was done, and keep the program. Raises what JAX raises."""
        with self._lock:
            if shapes not in self._kept:
                self._kept[shapes] = self._compile(shapes)

    def find(self, shapes: Shapes) -> Program:
        """The program for these shapes, compiled now if need be.

        Raises InvalidArgumentError where the function cannot have such inputs.
        """
        found = self._kept.get(shapes)
        if found is not None:
            return found
        with self._lock:
            program = self._recent.pop(shapes, None)
            if program is None:
                try:
                    program = self._compile(shapes)
                except ValueError as error:  # the shapes disagree with one another, or with the function's conditions
                    raise InvalidArgumentError(f"unexpected shapes of inputs: {bounded_text(error)}") from error
            self._recent[shapes] = program
            if len(self._recent) > self._most:
                self._recent.popitem(last=False)
            return program

    def run(self, program: Program, arrays: Sequence[Array]) -> Sequence[Any]:
        """Execute it. The results are JAX's own arrays, which may be still in the making."""
        with self._numbers():
            return program(*arrays)

    def __len__(self) -> int:
        return len(self._kept) + len(self._recent)

    def close(self) -> None:
        """Let go of all programs."""
        self._kept.clear()
        self._recent.clear()

    def _compile(self, shapes: Shapes) -> Program:
        jax, exported = self._jax.module, self._artifact.exported
        tree = self._jax.tree

        def flat(*leaves: Any) -> Any:
            positional, named = tree.tree_unflatten(exported.in_tree, leaves)
            return tree.tree_leaves(exported.call(*positional, **named))

        place = jax.sharding.SingleDeviceSharding(self._device)
        types = [one.dtype for one in exported.in_avals]
        with self._numbers():
            wanted = [
                jax.ShapeDtypeStruct(shape, dtype, sharding=place) for shape, dtype in zip(shapes, types, strict=True)
            ]
            program: Program = jax.jit(flat, out_shardings=place).lower(*wanted).compile()
        return program
