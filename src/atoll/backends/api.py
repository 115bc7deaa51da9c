"""The contract of a backend: all that an author of one reads.

A backend is an object that an entry point of the group "atoll.backends" names; the entry point's name is what
`backend:` says in config.pbtxt. Life of a model: `signature` (may be asked without a load), then `load`, then one
`instance` per instance of its instance groups, then any number of `execute` calls on each, then `close` on every
instance and on the model. The engine validates requests, forms batches, joins the inputs and splits the outputs; a
backend sees whole arrays.

Who owns what: arrays given to `execute` belong to the engine and may be views of a client's buffer: read them, do not
write to them, do not keep them after returning. Arrays that `execute` returns belong to the engine from then on: do
not write to them again. Everything else is the backend's until `close`.

A backend for which arrays are not enough (it answers a request several times, or looks at a request's id and
parameters) says `requests` in its capabilities, and its instances are RequestInstances.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from atoll.config.model_config import ModelConfig
from atoll.config.signature import ModelSignature
from atoll.devices.host_policy import HostPolicy
from atoll.errors import AtollError
from atoll.request import InferenceRequest, Parameter
from atoll.tensor import Array, Tensor


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the engine may take for granted.

    `bounded`: `execute` is a native runtime running a fixed graph: it takes about as long each time, runs no user's
    Python code, and waits for nothing. Only then may an event loop's thread drive it. Where that differs from model to
    model, a BackendModel has an attribute `bounded` of its own, which decides.

    `requests`: its instances are RequestInstances.

    `isolated`: without a word in the configuration, instances run in processes of their own.
    """

    bounded: bool = False
    requests: bool = False
    isolated: bool = False


class Metrics(Protocol):
    """The metrics that models define themselves. Every number is the server's; `owner` is whose they are.

    Each raises AtollError where a name, a kind or a value is wrong.
    """

    def create_family(self, owner: object, name: str, description: str, kind: str) -> int:
        """A family of that kind: "counter", "gauge" or "histogram"."""

    def create_metric(
        self, owner: object, family: int, labels: Mapping[str, str], buckets: Sequence[float] = ()
    ) -> int:
        """A metric of a family, told from its siblings by its labels."""

    def change(self, metric: int, operation: str, value: float) -> None:
        """ "increment", "set" or "observe"."""

    def value(self, metric: int) -> float:
        """Of a counter or a gauge."""

    def drop_metric(self, metric: int) -> None:
        """Nobody uses it any more. Never raises."""

    def drop_family(self, family: int) -> None:
        """Nobody uses it any more. Never raises."""

    def drop_owner(self, owner: object) -> None:
        """All of its metrics are gone. Never raises."""


class Engine(Protocol):
    """What a model may ask of the server round it. Thread-safe."""

    @property
    def metrics(self) -> Metrics:
        """Where models' own metrics are kept."""

    def submit(self, request: InferenceRequest) -> None:
        """Run a request on another model: its sender gets the answer. Raises AtollError where it is refused."""

    def load_model(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """As `Server.load_model`."""

    def unload_model(self, name: str, *, unload_dependents: bool = False) -> None:
        """As `Server.unload_model`."""

    def model_ready(self, name: str, version: str = "") -> bool:
        """Whether it takes requests; False for one that does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRecipe:
    """How instances of a model get a process of their own.

    `make`, "module:attribute", is called in the child with `setup` (what JSON can hold; "placement" is added), and the
    child's service (isolation/service.py); what it returns executes requests there. `environment` comes on top of what
    a child gets.
    """

    make: str
    setup: Mapping[str, Any]
    python: tuple[str, ...] = ()  # how to start the interpreter; the server's own if empty
    environment: Mapping[str, str] = field(default_factory=dict)
    keep: object = None  # to be held for as long as such processes run


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A version of a model on disk, with what its configuration says so far.

    `config` is complete when `load` gets it, and only what the user wrote when `signature` gets it. `settings` are the
    backend's own, from the command line (`--backend-config=NAME,key=value`). `backend_directory` is set where the
    backend is a folder with a model.py (`--backend-directory`): that file is the model's code, for the Python backend.
    `run_child` starts a process for what is to be asked of the model's code, and returns the facts that it reports.
    """

    name: str
    version: int
    model_directory: Path
    version_directory: Path
    config: ModelConfig
    settings: Mapping[str, str] = field(default_factory=dict)
    engine: Engine | None = None
    run_child: "Callable[[ModelSource, ChildRecipe], Mapping[str, Any]] | None" = None
    backend_directory: Path | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an instance runs: `kind` is "KIND_CPU", "KIND_GPU" or "KIND_MODEL" (where the model says it itself),
    `device_id` the GPU's number (0 unless it is KIND_GPU).

    `policy`: the cores that its threads keep to. Those that are made in `instance` do so already, and so does the one
    that calls `execute`.
    """

    name: str
    kind: str = "KIND_CPU"
    device_id: int = 0
    policy: HostPolicy | None = None


class Instance(Protocol):
    """One execution context. The engine calls `execute` from one thread at a time, not always the same one."""

    def execute(self, inputs: Mapping[str, Array], output_names: Sequence[str]) -> Mapping[str, Array]:
        """Run one batch.

        `inputs`: the model's input names to arrays in C order whose shapes include the batch dimension, if the model
        has one; an absent optional input is not in it, those that the server makes (controls and states of sequences,
        what is computed for a batch) are. BYTES arrays hold `bytes` objects, BF16 arrays uint16 bit
        patterns. Returns at least the outputs in `output_names`, in the same representation.

        Raises InvalidArgumentError when the inputs' values are at fault: the requests of the batch are then run one by
        one, so that only the wrong ones fail; what the instance remembers must be as if the batch had not been. Raises
        another AtollError (or anything else, which becomes an InternalError) when the batch failed: every request of
        the batch gets the error, and the instance goes on.
        """

    def close(self) -> None:
        """Free what the instance holds. Called once; no `execute` runs or follows."""


class Answers(Protocol):
    """Where a RequestInstance says what becomes of the requests that it was given. Thread-safe; nothing here raises.

    What is said takes effect at the latest with `settle`: whoever says several things in a row says that once.
    """

    def respond(
        self,
        request: InferenceRequest,
        outputs: list[Tensor],
        *,
        parameters: dict[str, Parameter] | None = None,
        error: AtollError | None = None,
        final: bool = True,
    ) -> None:
        """A response to the request, or the error in its place."""

    def finish(self, request: InferenceRequest) -> None:
        """There is no further response: the end of a decoupled model's."""

    def reschedule(self, request: InferenceRequest) -> None:
        """It is to be executed again: it goes back into the queue."""

    def released(self, batch: int, execution_ns: int) -> None:
        """There is room for another batch: this one's execution has returned and took so long."""

    def down(self, reason: str) -> None:
        """The instance can take nothing until `up`; every request that it has and has not answered fails with that."""

    def up(self) -> None:
        """It can take batches again."""

    def settle(self) -> None:
        """That was all for now."""


class RequestInstance(Protocol):
    """One execution context that takes requests as they are and answers them by and by."""

    concurrency: int  # how many batches it executes at once
    depth: int  # how many more it may be given beforehand while its executions are short

    def open(self, answers: Answers) -> None:
        """Called once, before anything else."""

    def begin(self, batch: int, requests: Sequence[InferenceRequest]) -> None:
        """Take a batch, of that number. Neither blocks nor raises: what fails becomes the requests' error."""

    def flush(self) -> None:
        """No other batch follows at once: what is on its way must go."""

    def cancel(self, request: InferenceRequest) -> None:
        """Its client has withdrawn this request. It is answered all the same."""

    @property
    def says_ready(self) -> bool:
        """Whether the model has a word of its own on whether it is ready."""

    def is_ready(self, timeout_s: float) -> bool:
        """That word, waited for; False where it does not come in time."""

    def close(self, deadline_ns: int) -> bool:
        """Free what the instance holds, until that moment of the monotonic clock; False where it cannot be freed.

        Called once; requests that it still has are failed by the engine.
        """


class BackendModel(Protocol):
    """A loaded model: what its instances share.

    Where it knows its inputs and outputs, an attribute `signature` says them, as `Backend.signature` does: the engine
    refuses a configuration that disagrees with it, also where it was to fill in nothing. See Capabilities for
    `bounded`.
    """

    def instance(self, placement: Placement) -> Instance | RequestInstance:
        """A new instance there, ready to execute."""

    def close(self) -> None:
        """Free what the model holds; its instances are closed already."""


class Backend(Protocol):
    """Made once per process, when a model first needs it, and shared by all of its models: thread-safe.

    The heavy library is imported by `signature`, `gpu_support` and `load`, not when the module is found or the object
    made: a server whose models run in processes of their own then never imports it.
    """

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


@runtime_checkable
class RunsModelCode(Protocol):
    """What a backend offers besides, where `runtime: "model.py"` in a configuration means a file in the version's
    folder, which the backend runs itself. For any other, it means a python-based backend (`--backend-directory`).
    """

    runs_model_code: bool


@dataclass(frozen=True, slots=True)
class GpuSupport:
    """`gpus` are the numbers of those that instances of a model can be on. Where there are more in the machine,
    `missing` says in a sentence why these cannot be used, and what to install or change.
    """

    gpus: tuple[int, ...] = ()
    missing: str = ""


@runtime_checkable
class UsesGpus(Protocol):
    """What a backend of arrays offers besides, where its models can run on GPUs. One that does not, runs on none."""

    def gpu_support(self, source: ModelSource, gpus: tuple[int, ...]) -> GpuSupport:
        """Which of the server's GPUs, of which there is at least one, instances of this model can be on.

        Raises MissingExtraError where the backend's library is not there.
        """


class IsolatedBackend(Backend, Protocol):
    """A backend that says itself how its models run in processes of their own. Any other is run there as it is."""

    def child(self, source: ModelSource) -> ChildRecipe:
        """What the processes of this model's instances are. Raises ConfigError."""


@runtime_checkable
class CompletesConfig(Protocol):
    """What a backend offers besides, where the model's own code may complete the configuration."""

    def auto_complete(self, source: ModelSource) -> Mapping[str, Any] | None:
        """What the model's code makes of the configuration: the document that GET /v2/models/M/config has, changed by
        it; None where the code completes nothing. `source.config` has the defaults filled in.

        What may be changed, and what is wrong with it, is the caller's to say. Raises AtollError where the code fails.
        """
