"""A loaded model whose instances run in processes of their own, whatever its backend."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from atoll.backends.api import Answers, ChildRecipe, Engine, Instance, ModelSource, Placement, RequestInstance
from atoll.devices.proc_stat import proportional_bytes
from atoll.isolation.array_instance import IsolatedArrayInstance
from atoll.isolation.environment import child_environment, device_id_in_child, threads_per_instance
from atoll.isolation.link import Link
from atoll.isolation.process import Child, ChildSpec
from atoll.isolation.processes import Processes
from atoll.isolation.proxy import IsolatedInstance, Start
from atoll.isolation.settings import IsolationSettings
from atoll.isolation.zygote import Zygote

ASKED_STOP_S = 5.0
HOST = "atoll.isolation.service:host"


class IsolatedModel:
    """A BackendModel. Nothing of the model itself is in the server's process.

    `takes_requests`: its instances are RequestInstances. Raises what starting its zygote raises, where it forks.
    """

    def __init__(
        self,
        source: ModelSource,
        recipe: ChildRecipe,
        settings: IsolationSettings,
        processes: Processes,
        engine: Engine,
        *,
        takes_requests: bool,
        instance_count: int,
    ):
        self._source = source
        self._recipe = recipe
        self._settings = settings
        self._processes = processes
        self._engine = engine
        self._takes_requests = takes_requests
        self._threads = settings.threads or threads_per_instance(instance_count)
        processes.sweep(settings.prefix)
        self._starting: set[Child] = set()
        self._instances: list[IsolatedInstance] = []
        self._arrays: list[IsolatedArrayInstance] = []
        self._zygote: Zygote | None = None
        if settings.start_method == "fork":
            self._zygote = Zygote(
                self._spec(Placement(f"{source.name}_zygote")),
                processes.supervisor,
                load_timeout_s=settings.load_timeout_s,
            )

    def instance(self, placement: Placement) -> Instance | RequestInstance:
        """See `BackendModel.instance`; returns when the process is ready."""
        forwarding = IsolatedInstance(
            placement.name, self._start(placement), self._processes.supervisor, self._settings.execution_timeout_s
        )
        self._instances.append(forwarding)
        if self._takes_requests:
            return forwarding
        arrays = IsolatedArrayInstance(forwarding, self._source.config)
        self._arrays.append(arrays)
        return arrays

    @property
    def available(self) -> bool:
        """Of an array backend: whether any of its processes is up."""
        return not self._arrays or any(not one.down_because for one in self._arrays)

    def memory_bytes(self) -> int:
        """What its processes have in memory now, each page shared out among those that have it."""
        return sum(proportional_bytes(one.pid) for one in self._instances)

    def ask(self) -> Mapping[str, Any]:
        """What a process says of itself when it is ready; it ends then."""
        link = self._start(Placement(f"{self._source.name} (asked)"))(_nobody, lambda link, reason: None)
        link.stop(ASKED_STOP_S)
        return link.facts

    def _start(self, placement: Placement) -> Start:
        spec = self._spec(placement)

        def start(answers: Callable[[], Answers], on_end: Callable[[Link, str], None]) -> Link:
            return Link(
                spec,
                self._processes,
                self._settings,
                self._engine,
                answers,
                on_end,
                self._zygote,
                self._starting,
            )

        return start

    def _spec(self, placement: Placement) -> ChildSpec:
        settings = self._settings
        device = (placement.kind, placement.device_id)
        policy = placement.policy
        threads = self._threads if policy is None else min(self._threads, len(policy.cores))
        environment = child_environment(os.environ, threads=threads, device=device, replaced=self._recipe.environment)
        return ChildSpec(
            name=placement.name,
            model=self._source.name,
            version=str(self._source.version),
            python=self._recipe.python or (sys.executable,),
            environment=environment,
            host=HOST,
            setup={
                **self._recipe.setup,
                "make": self._recipe.make,
                "placement": asdict(replace(placement, device_id=device_id_in_child(device), policy=None)),
                "memory": {
                    "first_bytes": settings.first_bytes,
                    "growth_bytes": settings.growth_bytes,
                    "prefix": settings.prefix,
                },
            },
            memory_limit=settings.memory_limit,
            policy=policy,
            working_directory=str(Path.cwd()),
        )

    def close(self) -> None:
        """See `BackendModel.close`. A process that is being started anew is killed."""
        for child in list(self._starting):
            child.kill("was killed by the server, which was about to stop its model")
        if self._zygote is not None:
            self._zygote.close()


def ask_child(
    source: ModelSource, recipe: ChildRecipe, settings: IsolationSettings, processes: Processes, engine: Engine
) -> Mapping[str, Any]:
    """What a process that is started for this alone says. Raises what starting it raises."""
    asked = replace(settings, start_method="spawn", execution_timeout_s=0)
    return IsolatedModel(source, recipe, asked, processes, engine, takes_requests=True, instance_count=1).ask()


def _nobody() -> Answers:
    raise AssertionError("a process that was only asked has answered a request. This is a bug")
