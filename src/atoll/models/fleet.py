"""All the models of one server: its repositories, what is loaded from them at start, and what may change after that.

Modes, as in Triton: `none` loads every model at start and changes nothing; `explicit` loads what it is told to,
whenever it is told; `poll` follows the repositories. With a memory budget, models are loaded when a request first asks
for them.
"""

import logging
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from time import monotonic_ns

from atoll.caching.settings import read_cache_settings
from atoll.devices.gpus import visible_gpus
from atoll.devices.nvml import gpu_facts
from atoll.errors import AlreadyExistsError, AtollError, UnavailableError
from atoll.execution.clock import Clock
from atoll.execution.memory_pool import HostMemoryPool
from atoll.execution.rate_limiter import RateLimiter, parse_supplies
from atoll.isolation.processes import Processes
from atoll.models.admission import server_admission
from atoll.models.catalog import Catalog, ModelKey
from atoll.models.completion import Completion
from atoll.models.control import ModelControl
from atoll.models.departure import refuse_in_order
from atoll.models.diagnosis import Diagnosis, diagnose, step_finder
from atoll.models.engine import ModelsEngine
from atoll.models.events import ModelEvents
from atoll.models.function_repository import FunctionModel, FunctionRepository
from atoll.models.gpu_limits import GpuLimits, capable_gpus
from atoll.models.host_policies import HostPolicies
from atoll.models.index import IndexEntry
from atoll.models.inspection import Inspection, inspect
from atoll.models.load_progress import OnProgress, Progress
from atoll.models.loader import MOST_AT_ONCE, Loader
from atoll.models.location import is_bare_model
from atoll.models.model import Model
from atoll.models.placing import Placing
from atoll.models.polling import Poller
from atoll.models.recorders import Recorders
from atoll.models.registration import Registration
from atoll.models.residency import Residency, Then
from atoll.models.response_caching import ResponseCaching
from atoll.models.settings import read_settings
from atoll.models.start_up import wanted_at_start
from atoll.models.table import ModelTable, bare
from atoll.observability.logging.extras import naming, report
from atoll.observability.metrics.custom import CustomMetrics
from atoll.observability.metrics.settings import MetricsSettings
from atoll.observability.statistics.recent_errors import RecentErrors
from atoll.options import ServerOptions
from atoll.repositories.object_store import is_object_store
from atoll.repositories.open import open_repository
from atoll.repositories.repository import Repository

logger = logging.getLogger(__name__)


class Fleet:
    """Day of a fleet: `start`; any number of `load`, `unload`, `wake`; `stop`. Thread-safe."""

    def __init__(
        self, options: ServerOptions, environment: Mapping[str, str], custom_metrics: CustomMetrics | None = None
    ):
        self._options = options
        policies = HostPolicies(options.host_policy)
        self.recent_errors = RecentErrors()
        recorders = Recorders(MetricsSettings.from_texts(options.metrics_config), self.recent_errors)
        gpus = capable_gpus(visible_gpus(environment), options.min_supported_compute_capability, environment)
        gpu_limits = GpuLimits(options.model_load_gpu_limit, partial(gpu_facts, environment=environment))
        supplies = parse_supplies(options.rate_limit, options.rate_limit_resource)
        admission = server_admission(options.max_inflight_requests)
        self._progress = Progress()
        self._open = partial(
            open_repository,
            cache_directory=options.repository_cache_directory,
            external_symlinks=options.follow_external_symlinks,
            environment=environment,
            on_progress=self._progress.downloaded,
        )
        repositories = [self._open(location) for location in options.model_repository]
        try:
            settings = read_settings(options, repositories, environment, self._open)
            self.memory_pool = HostMemoryPool(settings.pool_bytes, settings.pool_alignment)
            caching = ResponseCaching(
                read_cache_settings(options.cache_config, options.response_cache_byte_size), environment
            )
        except BaseException:
            for repository in repositories:
                repository.close()
            raise
        self._functions = FunctionRepository()
        self._started = False
        self._catalog = Catalog(
            [*repositories, *settings.listed, self._functions], namespacing=options.model_namespacing
        )
        self._registration = Registration(self._catalog, self._open, explicit=options.model_control_mode == "explicit")
        self.table = ModelTable(namespacing=options.model_namespacing)
        self.custom_metrics = custom_metrics or CustomMetrics()
        self.processes = Processes()
        self.clock = Clock()
        self.caching = caching
        engine = ModelsEngine(self)
        placing = Placing(self.processes, engine)
        limiter = RateLimiter(self.clock, supplies) if options.rate_limit == "execution_count" else None
        self._completion = completion = Completion(
            options,
            settings.backends,
            environment=environment,
            gpus=gpus,
            defaults=settings.defaults,
            engine=engine,
            run_child=placing.run_child,
        )
        self._loader = loader = Loader(
            completion,
            self.memory_pool,
            placing,
            self.clock,
            caching,
            policies=policies,
            gpu_limits=gpu_limits,
            engine=engine,
            recorders=recorders,
            limiter=limiter,
            admission=admission,
            drive_on_submit=options.drive_on_submit,
            measure=bool(settings.memory_budget),
            instances_at_once=1 if environment.get("TRITON_PARALLEL_INSTANCE_LOADING") == "0" else MOST_AT_ONCE,
        )
        self._control = ModelControl(
            self._catalog,
            completion,
            loader,
            self.table,
            retry_count=options.model_load_retry_count,
            external_symlinks=options.follow_external_symlinks,
            # under a budget one at a time, so that memory can be put down to each
            threads=1 if settings.memory_budget else options.model_load_thread_count,
        )
        self._residency: Residency | None = None
        if settings.memory_budget:
            self._residency = Residency(
                self._catalog, self._control, self.table, settings.memory_budget, self._has_settled
            )
        self._poller: Poller | None = None
        self._failures: dict[str, AtollError] = {}  # at start, of what is not a model that was tried

    # ---- start

    def start(self, on_progress: OnProgress | None = None) -> dict[str, AtollError]:
        """Load what the mode loads at start, several models at once; returns those that failed, and why.

        Raises NotFoundError, UnavailableError for a repository that does not exist or cannot be asked.
        """
        self._progress.watcher = on_progress
        self._started = True
        self.caching.start()
        listing = self._catalog.list()
        for error in listing.unreachable.values():
            raise error
        if self._residency is not None:
            self._residency.start()
        mode = self._options.model_control_mode
        wanted, failures = wanted_at_start(mode, self._options.load_model, listing, self._functions)
        self._failures.update(failures)
        for name, error in self._failures.items():
            first, others = report(error)
            logger.error("failed to load '%s': %s", name, first, extra={**others, **naming(name)})
        if mode == "poll":
            self._poller = Poller(
                self._catalog,
                self._load_polled,
                self._control.unload_key,
                interval_s=self._options.repository_poll_secs,
                settle_s=self._options.repository_settle_secs,
            )
            self._poller.start()
        elif self._residency is not None:
            self.table.put_to_sleep(key.name for key in wanted)
        else:
            self._load_all(wanted)
        self._progress.watcher = None
        return self.failures()

    def _load_all(self, wanted: Mapping[ModelKey, Repository]) -> dict[ModelKey, AtollError]:
        """Several at once, and those that they need before them; returns those that failed."""
        return self._control.load_all(wanted, self._progress.reporting(wanted, self._control.load_turn))

    def _has_settled(self, key: ModelKey, files: Mapping[str, str]) -> bool:
        return self._poller is None or self._poller.has_settled(key, files)

    # ---- without serving

    def diagnose(self, load_files: bool = True) -> Iterator[Diagnosis]:
        """What is wrong with each model of the repositories, in place of `start`; see models/diagnosis.py."""
        return diagnose(
            self._catalog,
            self._completion,
            self._loader if load_files else None,
            external_symlinks=self._options.follow_external_symlinks,
        )

    def inspect(self, location: str) -> Inspection:
        """A model file, or a model's directory: what it holds, and how it would be served."""
        if is_bare_model(location):
            repository = self._open(location)
            return inspect(repository, repository.names()[0], self._completion)
        path = location if is_object_store(location) else str(Path(location).absolute())
        parent, _, name = path.rstrip("/").rpartition("/")
        repository = self._open(parent or "/")
        return inspect(repository, name, self._completion, step_finder(repository, name, self._completion))

    # ---- run

    def find(self, name: str, version: str) -> Model:
        """See `ModelTable.find`."""
        return self.table.find(name, version)

    def find_leaving(self, name: str, version: str) -> Model | None:
        """See `ModelTable.find_leaving`."""
        return self.table.find_leaving(name, version)

    def load(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """See `Server.load_model`."""
        self._demand_explicit()
        if self._residency is not None:
            self._residency.load(name, config=config, files=files)
        else:
            self._control.load(name, config=config, files=files)
        self._failures.pop(name, None)

    def unload(self, name: str, *, unload_dependents: bool = False) -> None:
        """See `Server.unload_model`."""
        self._demand_explicit()
        self._control.unload(name, unload_dependents=unload_dependents)
        self._failures.pop(name, None)

    def register(self, location: str, names: Mapping[str, str]) -> None:
        """See `Server.register_model_repository`."""
        self._registration.register(location, names)

    def unregister(self, location: str) -> None:
        """See `Server.unregister_model_repository`."""
        self._registration.unregister(location)
        self._control.forget_lost()

    def is_leaving(self, name: str) -> bool:
        """See `Server.is_leaving`."""
        return self._control.records.is_leaving(name)

    def poll(self) -> None:
        """See `Server.poll_model_repository`."""
        if self._poller is None:
            raise UnavailableError("polling is disabled")
        self._poller.look(monotonic_ns())

    def wake(self, name: str, then: Then) -> None:
        """See `Server.wake`."""
        if self._residency is None:
            then(None)
        else:
            self._residency.wake(bare(name) if self._catalog.namespacing else name, then)

    def add_function(self, model: FunctionModel) -> None:
        """See `Server.add_model`."""
        name = model.config.name
        key = self._catalog.key(name, self._functions)
        listing = self._catalog.list()
        taken = listing.models.get(key)
        if key in listing.clashes or (taken is not None and taken is not self._functions):
            raise AlreadyExistsError(
                f"model '{name}' is in the repository {taken.location if taken else ''}: give the function another name"
            )
        before = self._functions.put(model)
        if not self._started:
            return
        try:
            if self._residency is not None:
                self._residency.load(name)
            else:
                self._control.load_key(key, self._functions)
        except BaseException:
            self._functions.take_back(model, before)
            if before is None and not self.table.served(key):
                self._control.remove_key(key)
            raise

    def remove_function(self, name: str) -> None:
        """See `Server.remove_model`."""
        self._functions.remove(name)
        self._control.remove_key(self._catalog.key(name, self._functions))

    def _demand_explicit(self) -> None:
        if self._options.model_control_mode != "explicit":
            raise UnavailableError(
                "explicit model load / unload is not allowed if polling is enabled; start the server with "
                "--model-control-mode=explicit to allow it"
            )

    def _load_polled(self, due: Mapping[ModelKey, Repository]) -> dict[ModelKey, AtollError]:
        return self._load_all(due) if self._residency is None else self._residency.follow(due)

    # ---- ask

    def index(self) -> list[IndexEntry]:
        """Every model and version that there is or was, with its state; asks the repositories."""
        listing = self._catalog.list()
        return self._control.records.index(listing)

    def states(self) -> list[IndexEntry]:
        """Every version that anybody tried to load, with its state; asks no repository."""
        return self._control.records.states()

    def events(self) -> list[ModelEvents]:
        """What has happened to each model that anybody tried to load."""
        return self._control.records.events()

    def failures(self) -> dict[str, AtollError]:
        """The models whose last load failed, and why."""
        return dict(sorted({**self._failures, **self._clashes(), **self._control.records.failures()}.items()))

    def all_ready(self) -> bool:
        """Whether every model that was to be served is."""
        available = all(model.available for model in self.table.models())
        return available and not self._failures and not self._clashes() and not self._control.records.unready()

    def _clashes(self) -> dict[str, AtollError]:
        """When polling: names that several repositories have now, unless the model was served before."""
        clashes = self._poller.clashes if self._poller is not None else {}
        return {str(key): error for key, error in clashes.items() if not self.table.served(key)}

    def in_flight(self) -> int:
        """How many requests are queued or executing."""
        return sum(model.in_flight() for model in self.table.models()) + self._control.in_flight()

    # ---- stop

    def drain(self, deadline_ns: int) -> bool:
        """Take no new requests, and wait until all taken are answered; False when the deadline came first."""
        if self._poller is not None:
            self._poller.cease()
        self._control.refuse()
        models = [model for model in self.table.models() if model.ready]
        refuse_in_order(models, deadline_ns)
        return all([model.drain(deadline_ns) for model in models] + [self._control.drain(deadline_ns)])

    def stop(self, deadline_ns: int) -> bool:
        """Free every model; nothing is loaded after that. False when a request outlasted the deadline."""
        if self._poller is not None:
            self._poller.stop(deadline_ns)
        if self._residency is not None:
            self._residency.stop(deadline_ns)
        clean = self._control.stop(deadline_ns)
        for repository in self._catalog.repositories:
            repository.close()
        self._registration.close()
        self.memory_pool.close()
        self.processes.close()
        self.caching.close()
        self.clock.close()
        return clean
