"""What a backend's author says of it: its class, the makers of two small models, and what it cannot do and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from atoll.tensor import BY_PROTOCOL_NAME

FEATURES: Mapping[str, str] = {
    "names": "the model's file says the names of its inputs and outputs",
    "count": "it is known at load how many inputs and outputs the model has",
    "types": "the model's file says the data types of its inputs and outputs",
    "shapes": "the model's file says the shapes of its inputs and outputs",
    "batching": "a model takes batches of any size",
    "variable dims": "a dimension besides that of the batch may have any size",
    "empty batches": "a batch may have no items",
    "zero size": "a dimension besides that of the batch may be 0",
    "scalars": "a tensor may have no dimension but that of the batch, or none at all",
    "several outputs": "a model may have several inputs and several outputs",
    "NaN": "NaN and infinities go through a model unharmed",
    "cut off": "a file whose second half is missing can be told from a whole one",
    "instances": "a model may have several instances, which execute at once",
    "isolation": "a model's instances may run in processes of their own",
    **{name: f"tensors of {name}" for name in BY_PROTOCOL_NAME},
}
"""What `cannot` may name. The data types are among them under their protocol names, BYTES and BF16 too."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a maker says of the model that it has written.

    `inputs` and `outputs`: the names under which a configuration speaks of them, in the model's order. `config`: what
    config.pbtxt needs besides `backend`, `max_batch_size`, `input` and `output`, if anything.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    config: str = ""


class Declaration:
    """To be filled in by the author, in a subclass of BackendContract."""

    backend: ClassVar[Any]
    """The backend's class, which an installed package's entry point names."""

    runtime_modules: ClassVar[tuple[str, ...]] = ()
    """The heavy modules that it imports when a model first needs them; neither its module nor its constructor does."""

    settings: ClassVar[Mapping[str, str]] = {}
    """What the command line would say: `--backend-config=NAME,key=value`."""

    cannot: ClassVar[Mapping[str, str]] = {}
    """What it cannot do, by the names in FEATURES, each with the reason: shown where the tests of it are skipped."""

    model_file: ClassVar[str] = ""
    """The file that tests damage, relative to the version's folder. Empty: the backend's `default_model_filename`."""

    def identity(self, folder: Path, datatype: str, dims: tuple[int, ...], batching: bool) -> ModelFiles:
        """Write a model into the version's folder that answers its one input with an equal output.

        `datatype` is a protocol name ("FP32", "BYTES"). The whole shape is `dims`, with a batch dimension of any size
        in front where `batching`. -1 is a dimension of any size; dims may be (4,), (-1,) or (), as far as `cannot` does
        not exclude that.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the maker 'identity'")

    def sum_and_difference(self, folder: Path, batching: bool) -> ModelFiles:
        """Write a model into the version's folder that answers FP32 inputs A and B with the outputs A + B and A - B, in
        that order under any names. Its shapes are as of `identity` with dims (4,).

        Not called where "several outputs" cannot be done.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks the maker 'sum_and_difference'")

    def needs(self, *features: str) -> None:
        """Skip the running test where one of these cannot be done, and say why."""
        for feature in features:
            assert feature in FEATURES, f"no such feature: {feature}. This is a bug"
            if feature in self.cannot:
                pytest.skip(f"{self.backend.name} cannot do '{feature}' ({FEATURES[feature]}): {self.cannot[feature]}")
