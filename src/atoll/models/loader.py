"""From a complete configuration to a running model: the one place where a model is put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic_ns
from typing import Any, TypeAlias, cast

from atoll.backends.api import Backend, BackendModel, Instance, Placement, RequestInstance
from atoll.config.deadline import deadline_ns
from atoll.config.inflight_limit import inflight_limit
from atoll.config.model_config import ModelConfig, ModelInstanceGroup
from atoll.config.platforms import ENSEMBLE
from atoll.config.problems import Problem, config_error
from atoll.config.written import WrittenConfig
from atoll.devices.host_policy import HostPolicy, applied
from atoll.errors import AtollError, ConfigError, InvalidArgumentError
from atoll.execution.batching.batch import BatchPlan, plan_batches
from atoll.execution.clock import Clock
from atoll.execution.deadline import Deadlines
from atoll.execution.ensembles.pool import EnsemblePool
from atoll.execution.forwarding import BATCHES_AHEAD, SINGLES_AHEAD, ForwardingPool
from atoll.execution.instance import ModelInstance
from atoll.execution.memory_pool import HostMemoryPool, wants_pinned
from atoll.execution.permit import Permit
from atoll.execution.pool import InstancePool
from atoll.execution.pool_api import Pool
from atoll.execution.rate_limiter import RateLimiter
from atoll.execution.request_instance import RequestModelInstance
from atoll.execution.sequences.initial_state import initial_states
from atoll.execution.sequences.request_instance import SequenceRequestInstance
from atoll.execution.sequences.tensors import SequenceTensors
from atoll.execution.warmup import WarmupSample, warmup_samples
from atoll.isolation.model import IsolatedModel
from atoll.models.admission import Admission, model_admission
from atoll.models.completion import CompleteModel, Completion
from atoll.models.engine import ModelsEngine
from atoll.models.ensembles.steps import labels_of, qualified
from atoll.models.gpu_limits import GpuLimits
from atoll.models.host_policies import HostPolicies, joined
from atoll.models.instance_placements import group_numbers, groups_of_instances, placements
from atoll.models.labels import read_labels
from atoll.models.memory import ArenaHold, Growth
from atoll.models.model import Model
from atoll.models.placing import Placing
from atoll.models.recorders import Recorders
from atoll.models.request_validation import request_spec, validate
from atoll.models.response_caching import ResponseCaching, ensemble_identity
from atoll.models.side_by_side import work_side_by_side
from atoll.observability.statistics.recorder import StatisticsRecorder
from atoll.repositories.repository import ModelFolder
from atoll.scheduling.choose import choose_scheduler
from atoll.scheduling.dynamic_batcher import DynamicBatcher
from atoll.scheduling.ensembles.graph import build_graph
from atoll.scheduling.queueing.batcher import QueueingBatcher
from atoll.scheduling.scheduler import Scheduler

MOST_AT_ONCE = 8  # instances of one model that are started side by side
AnyInstance: TypeAlias = ModelInstance | RequestModelInstance


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all instances of a version have in common."""

    plan: BatchPlan
    version: str
    statistics: StatisticsRecorder
    samples: Sequence[WarmupSample]
    requests: bool  # its instances take requests, and are made side by side: each has its own start-up
    groups: Mapping[str, ModelInstanceGroup]  # of each instance
    sequences: SequenceTensors | None  # of a model whose requests are parts of sequences
    numbers: Mapping[str, int]  # of each instance's group in the configuration
    written: WrittenConfig | None = None  # where that is known


class Loader:
    """Builds models under one server's options. Thread-safe: it keeps nothing of what it builds."""

    def __init__(
        self,
        completion: Completion,
        memory: HostMemoryPool | None,
        placing: Placing,
        clock: Clock,
        caching: ResponseCaching,
        *,
        policies: HostPolicies,
        gpu_limits: GpuLimits,
        engine: ModelsEngine,
        recorders: Recorders,
        limiter: RateLimiter | None = None,
        admission: Admission | None = None,
        drive_on_submit: bool = True,
        measure: bool = False,
        instances_at_once: int = MOST_AT_ONCE,
    ):
        self._completion = completion
        self._memory = memory
        self._placing = placing
        self._clock = clock
        self._caching = caching
        self._policies = policies
        self._gpu_limits = gpu_limits
        self._engine = engine  # runs the steps of ensembles
        self._recorders = recorders
        self._limiter = limiter  # None: what groups need of resources is passed over
        self._admission = admission
        self._drive_on_submit = drive_on_submit
        self._instances_at_once = instances_at_once
        self._measure = measure  # the memory that a model takes; true only where one is built at a time

    def build(self, complete: CompleteModel, version: int, namespace: str = "") -> Model:
        """A version of the model, warm and ready to take requests.

        Raises ConfigError, or the backend's own error; nothing is then left running.
        """
        started_ns = monotonic_ns()
        arena = ArenaHold()
        growth = Growth() if self._measure else None
        try:
            if complete.backend is None:
                model = self._ensemble(complete, version, namespace)
            else:
                model = self._build(complete, complete.backend, version, namespace)
        except BaseException:
            arena.release()
            raise
        model.arena = arena
        arena.renew()  # reading a model takes up to twice its size, which is free now
        if growth is not None:
            model.memory_bytes = growth.measure() + model.process_bytes()
        model.recorder.record_load(monotonic_ns() - started_ns)
        return model

    def _ensemble(self, complete: CompleteModel, version: int, namespace: str) -> Model:
        config, models = complete.configs[version], complete.steps[version]
        labels = {**labels_of(config, models), **read_labels(config, complete.folder.directory)}
        statistics = self._recorders.recorder(config, version, namespace)
        graph = build_graph(qualified(config), [one.config for one in models])
        steps = [(one.model_name, one.model_version) for one in graph.steps]
        pool: Pool = EnsemblePool(config, str(version), graph, statistics, self._engine.submit_step)
        identity = ensemble_identity(config, steps, self._engine.find)
        pool = self._caching.wrap(pool, config, statistics, identity, sees_parameters=True)
        model = Model(
            config,
            str(version),
            platform=ENSEMBLE,
            spec=request_spec(config),
            pool=pool,
            backend_model=None,
            statistics=statistics,
            directory=complete.folder.directory,
            labels=labels,
            is_available=lambda: all(self._engine.model_ready(*step) for step in steps),
            deadlines=Deadlines(self._clock, config.name, str(version), deadline_ns(config)),
            admission=self._admission,
            own_admission=model_admission(inflight_limit(config), config.name),
        )
        model.identity = identity
        return model

    def _build(self, complete: CompleteModel, backend: Backend, version: int, namespace: str) -> Model:
        config = complete.configs[version]
        folder = complete.folder
        labels = read_labels(config, folder.directory)
        statistics = self._recorders.recorder(config, version, namespace)
        spec = request_spec(config)
        samples = warmup_samples(config, folder.directory, partial(validate, spec=spec))
        requests = backend.capabilities.requests
        plan = plan_batches(config)
        sequences = _sequences(config, plan, folder.directory)
        parts = _Parts(
            plan,
            str(version),
            statistics,
            samples,
            requests,
            groups_of_instances(config.instance_group),
            sequences,
            group_numbers(config.instance_group),
            complete.written,
        )
        scheduler = choose_scheduler(config)
        if self._memory is not None and wants_pinned(config):
            self._memory.pin()
        places = placements(config.instance_group)
        source = self._completion.source(folder, config, version)
        with applied(joined([self._policy(parts, place) for place in places])):  # it may start threads
            backend_model = self._placing.load(backend, source, len(places))
        instances: list[AnyInstance] = []
        try:
            instances = self._instances(parts, backend_model, places)
            executes: Any = backend_model
            pool: Pool
            if backend.capabilities.requests:
                executes = pool = ForwardingPool(
                    config.name,
                    scheduler,
                    cast("list[Any]", instances),
                    self._clock,
                    ahead=_ahead(scheduler),
                )
            else:
                pool = InstancePool(
                    config.name,
                    scheduler,
                    cast("list[Any]", instances),
                    self._clock,
                    bounded=_bounded(backend, backend_model),
                    submitter_may_drive=self._drive_on_submit,
                )
            identity = self._caching.identity(config, source if folder.backend is None else None)
            pool = self._caching.wrap(pool, config, statistics, identity, sees_parameters=backend.capabilities.requests)
            model = Model(
                config,
                str(version),
                platform=config.platform or config.backend,
                spec=spec,
                pool=pool,
                backend_model=backend_model,
                statistics=statistics,
                directory=folder.directory,
                labels=labels,
                is_available=lambda: getattr(executes, "available", True),
                deadlines=Deadlines(self._clock, config.name, str(version), deadline_ns(config)),
                admission=self._admission,
                own_admission=model_admission(inflight_limit(config), config.name),
            )
            model.identity = identity
            return model
        except BaseException:
            for instance in instances:
                instance.close()
            backend_model.close()
            raise

    def change_instances(self, model: Model, config: ModelConfig, folder: ModelFolder) -> bool:
        """Give a running model the instance groups of `config`: new ones are warm before they take requests, and
        those that are not asked for any more finish what they have. False when the model is being unloaded.

        Raises what making an instance raises; the model then goes on as it was.
        """
        wanted = {one.name: one for one in placements(config.instance_group)}
        groups_before, groups = (
            groups_of_instances(model.config.instance_group),
            groups_of_instances(config.instance_group),
        )
        now = {instance.name: instance for instance in model.instances()}
        before = {one.name: one for one in placements(model.config.instance_group)}
        kept = {
            name
            for name in now.keys() & wanted.keys()
            if before.get(name) == wanted[name] and groups_before.get(name) == groups.get(name)
        }
        samples = warmup_samples(config, folder.directory, partial(validate, spec=request_spec(config)))
        requests = any(isinstance(one, RequestModelInstance) for one in now.values())
        plan = plan_batches(config)
        sequences = _sequences(config, plan, folder.directory)
        parts = _Parts(
            plan,
            model.version,
            model.recorder,
            samples,
            requests,
            groups,
            sequences,
            group_numbers(config.instance_group),
        )
        added = self._instances(parts, model, [one for name, one in wanted.items() if name not in kept])
        removed = [instance for name, instance in now.items() if name not in kept]
        if model.change_instances(config, added, removed):
            return True
        for instance in added:
            instance.close()
        return False

    def _instances(
        self, parts: _Parts, owner: "BackendModel | Model", places: Sequence[Placement]
    ) -> list[AnyInstance]:
        made: dict[str, AnyInstance] = {}

        def make(place: Placement) -> None:
            self._gpu_limits.check(parts.plan.model_name, place.kind, place.device_id)
            policy = self._policy(parts, place)
            permit = self._permit(parts, place)
            try:
                with applied(policy):
                    instance = self._instance(parts, owner.instance(replace(place, policy=policy)), place)
                    instance.policy, instance.permit = policy, permit
                    made[place.name] = instance
                    instance.warm_up(parts.samples)
            except BaseException:
                if permit is not None:
                    permit.close()
                raise

        try:
            if parts.requests and len(places) > 1:
                work_side_by_side(make, places, self._instances_at_once, "make instances")
            else:
                for place in places:
                    make(place)
        except BaseException:
            for one in made.values():
                one.close()
            raise
        return [made[place.name] for place in places]

    def _policy(self, parts: _Parts, place: Placement) -> HostPolicy | None:
        """What its threads keep to."""
        try:
            return self._policies.of(parts.groups[place.name], place.device_id)
        except InvalidArgumentError as error:
            remedy = "Correct --host-policy, or name another policy."
            raise _of_group_key(parts, place, "host_policy", error, remedy) from None

    def _permit(self, parts: _Parts, place: Placement) -> Permit | None:
        """What it needs before it may execute, where any instance of the model needs something."""
        if self._limiter is None or not any(group.rate_limiter for group in parts.groups.values()):
            return None
        try:
            return self._limiter.permit(parts.groups[place.name].rate_limiter, place.device_id)
        except InvalidArgumentError as error:
            remedy = "Correct it, or say with --rate-limit-resource how much there is."
            raise _of_group_key(parts, place, "rate_limiter", error, remedy) from None

    def _instance(self, parts: _Parts, backend: Instance | RequestInstance, place: Placement) -> AnyInstance:
        common = parts.plan, parts.version, parts.statistics
        sequences = parts.sequences
        if not parts.requests:
            return ModelInstance(place.name, cast("Instance", backend), *common, self._memory, sequences)
        if sequences is not None:
            return SequenceRequestInstance(place.name, cast("RequestInstance", backend), *common, sequences)
        return RequestModelInstance(place.name, cast("RequestInstance", backend), *common)


def _bounded(backend: Backend, model: BackendModel) -> bool:
    """Whether its executions may be driven by an event loop's thread; see `Capabilities`."""
    if isinstance(model, IsolatedModel):
        return False
    return bool(getattr(model, "bounded", backend.capabilities.bounded))


def _sequences(config: ModelConfig, plan: BatchPlan, directory: Path) -> SequenceTensors | None:
    if config.sequence_batching is None:
        return None
    return SequenceTensors(config, plan, initial_states(config, directory))


def _ahead(scheduler: Scheduler) -> int:
    """How many batches an instance of a forwarding pool may be given beforehand."""
    if isinstance(scheduler, QueueingBatcher):
        return 0 if scheduler.prompt else BATCHES_AHEAD
    return BATCHES_AHEAD if isinstance(scheduler, DynamicBatcher) else SINGLES_AHEAD


def _of_group_key(parts: _Parts, place: Placement, key: str, error: AtollError, remedy: str) -> ConfigError:
    """With the place where the key is written, if that is known."""
    problems = [Problem(f"instance_group[{parts.numbers[place.name]}].{key}", str(error), "", "", remedy)]
    source = f"model '{parts.plan.model_name}'"
    if parts.written is not None and parts.written.file is not None:
        problems, source = parts.written.locate(problems, int(parts.version)), str(parts.written.file)
    return config_error(problems, source)
