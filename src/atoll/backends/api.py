"""The contract of a backend: all that an author of one reads.

A backend is an object that an entry point of the group "atoll.backends" names; the entry point's name is what
`backend:` says in config.pbtxt. Life of a model: `signature` (may be asked without a load), then `load`, then one
`instance` per instance of its instance groups, then any number of `execute` calls on each, then `close` on every
instance and on the model. The engine validates requests, forms batches, joins the inputs and splits the outputs; a
backend sees whole arrays.

Who owns what: arrays given to `execute` belong to the engine and may be views of a client's buffer: read them, do not
write to them, do not keep them after returning. Arrays that `execute` returns belong to the engine from then on: do
not write to them again. Everything else is the backend's until `close`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from atoll.config.autofill import ModelSignature
from atoll.config.model_config import ModelConfig
from atoll.tensor import Array


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the engine may take for granted.

    `bounded`: `execute` is a native runtime running a fixed graph: it takes about as long each time, runs no user's
    Python code, and waits for nothing. Only then may an event loop's thread drive it.
    """

    bounded: bool = False


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A version of a model on disk, with what its configuration says so far.

    `config` is complete when `load` gets it, and only what the user wrote when `signature` gets it. `settings` are the
    backend's own, from the command line (`--backend-config=NAME,key=value`).
    """

    name: str
    version: int
    model_directory: Path
    version_directory: Path
    config: ModelConfig
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an instance runs: `kind` is "KIND_CPU" or "KIND_GPU", `device_id` the GPU's number (0 on a CPU)."""

    name: str
    kind: str = "KIND_CPU"
    device_id: int = 0


class Instance(Protocol):
    """One execution context. The engine calls `execute` from one thread at a time, not always the same one."""

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> Mapping[str, Array]:
        """Run one batch.

        `inputs`: the model's input names to arrays in C order whose shapes include the batch dimension, if the model
        has one; an absent optional input is not in it. BYTES arrays hold `bytes` objects, BF16 arrays uint16 bit
        patterns. Returns at least the outputs in `output_names`, in the same representation.

        Raises InvalidArgumentError when the inputs' values are at fault: the requests of the batch are then run one by
        one, so that only the wrong ones fail. Raises another AtollError (or anything else, which becomes an
        InternalError) when the batch failed: every request of the batch gets the error, and the instance goes on.
        """

    def close(self) -> None:
        """Free what the instance holds. Called once; no `execute` runs or follows."""


class BackendModel(Protocol):
    """A loaded model: what its instances share."""

    def instance(self, placement: Placement) -> Instance:
        """A new instance there, ready to execute."""

    def close(self) -> None:
        """Free what the model holds; its instances are closed already."""


class Backend(Protocol):
    """Made once per process, when a model first needs it; heavy imports happen then, not when its module is found."""

    name: str
    capabilities: Capabilities
    default_model_filename: str
    default_instance_count: int  # on a CPU, where the configuration names no instance group

    def signature(self, source: ModelSource) -> ModelSignature | None:
        """What the model file itself says of inputs, outputs and batching; None where such files say nothing.

        Raises ConfigError naming the file and the cause when it cannot be read.
        """

    def load(self, source: ModelSource) -> BackendModel:
        """Load the model. Raises ConfigError naming the file or key when the files or parameters are wrong."""
