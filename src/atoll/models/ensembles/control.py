"""Keeps ensembles in step with the models of their steps.

When such a model is loaded anew, the ensembles that use it are composed anew; while one is missing or does not fit they
are out of service, and come back by themselves, as in the real server.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from atoll.config.model_config import ModelConfig
from atoll.config.written import WrittenConfig
from atoll.errors import AtollError
from atoll.models.catalog import Catalog, ModelKey
from atoll.models.completion import Completion
from atoll.models.departure import Departures
from atoll.models.ensembles.load_order import Models, Turn
from atoll.models.ensembles.steps import FindStep, StepModel, StepVersion, labels_of, resolve
from atoll.models.labels import read_labels
from atoll.models.loader import Loader
from atoll.models.model import Model
from atoll.models.record import Record
from atoll.models.records import Records
from atoll.models.served import Served
from atoll.models.table import ModelTable
from atoll.repositories.repository import Repository
from atoll.request import InferenceRequest

logger = logging.getLogger(__name__)

Again = Callable[[Record, Turn], bool]
"""Load a model in whose turn one is; whether what is served has changed. What fails is in the record."""

TakeOut = Callable[[Record, AtollError | None], Sequence[Model]]
"""Take a model in whose turn one is out of service; the models that it had."""


class EnsembleControl:
    """Part of ModelControl. Thread-safe; the caller of `follow` and `take_out_users` has no model's turn."""

    def __init__(
        self,
        records: Records,
        catalog: Catalog,
        completion: Completion,
        loader: Loader,
        table: ModelTable,
        departures: Departures,
        again: Again,
        take_out: TakeOut,
    ):
        self._records = records
        self._catalog = catalog
        self._completion = completion
        self._loader = loader
        self._table = table
        self._departures = departures
        self._again = again
        self._take_out = take_out

    # ---- before an ensemble is loaded

    def steps(self, key: ModelKey, written: WrittenConfig, *, anew: bool) -> Models:
        """The models of its steps that are to be loaded before it; with `anew` also those that are served already,
        unless their configuration or files came with a request.
        """
        names = step_names(written)
        if not names:
            return {}
        models = self._catalog.list().models
        found: dict[ModelKey, Repository | None] = {}
        for name in sorted(names):
            step = resolve(name, key.namespace, {*models, *self._loaded(name)})
            if step is None or step not in models:
                continue
            record = self._records.get(step)
            served = record.served if record is not None else None
            if served is not None and (not anew or served.override is not None):
                continue
            if record is not None and served is None and record.versions() and self._table.is_asleep(name):
                continue
            found[step] = models[step]
        return found

    def finder(self, key: ModelKey) -> FindStep:
        """Finds the models of the ensemble's steps, as they are the first time that it is asked."""
        listed = cache(lambda: self._catalog.list().models.keys())  # a look at all repositories

        @cache
        def find(name: str) -> StepModel:
            known = set(self._loaded(name))
            if self._catalog.namespacing:
                known |= listed()
            step = resolve(name, key.namespace, known)
            record = self._records.get(step) if step is not None else None
            if record is None:
                return StepModel(step if step in known else None, names=tuple(sorted({one.name for one in listed()})))
            return StepModel(step, record.versions(), record.error, record.failed)

        return find

    def _loaded(self, name: str) -> list[ModelKey]:
        return [record.key for record in self._records.of_name(name)]

    # ---- when the model of a step has changed

    def _users(self, key: ModelKey) -> list[Record]:
        """The ensembles that it is a step of, whether they are served or not."""
        return [record for record in self._records.all() if key in record.steps]

    def check(self, key: ModelKey) -> None:
        """This model is served now: if it is an ensemble, one of its steps may have been unloaded meanwhile."""
        record = self._records.get(key)
        if record is not None and record.steps and not self._records.refusing:
            self._follow(key)

    def follow(self, key: ModelKey) -> None:
        """This model was loaded, loaded anew, or taken out of service: the ensembles that use it follow."""
        for user in self._records.all():
            if key.name not in user.step_names or user.key == key:
                continue
            if self._records.refusing:
                return
            if self._follow(user.key):
                self.follow(user.key)

    def _follow(self, key: ModelKey) -> bool:
        with self._records.operation(key) as record:
            served = record.served
            if served is not None:
                return self._compose(record, served)
            if record.awaiting is None:
                return False
            return self._again(record, Turn(key, record.awaiting[0], steps_ready=True))

    def _compose(self, record: Record, served: Served) -> bool:
        before = served.complete
        try:
            after = self._completion.complete(before.folder, before.written, find_step=self.finder(record.key))
            if before.configs == after.configs and before.steps == after.steps:
                return False
            if before.configs == after.configs and _configs(before.steps) == _configs(after.steps):
                labels = {
                    version: {**labels_of(config, after.steps[version]), **read_labels(config, after.folder.directory)}
                    for version, config in after.configs.items()
                }
                for version, model in served.models.items():
                    model.labels = labels[version]
                served.complete = after
                return True  # an ensemble round it may have labels of it
            built = {version: self._loader.build(after, version, record.key.namespace) for version in after.configs}
        except AtollError as error:
            logger.error("'%s' is not served any more: %s", record.key, error)
            self._take_out(record, error)
            return True
        left = list(served.models.values())
        served.complete, served.models = after, built
        record.succeed(served)
        self._table.serve(record.key, built.values())
        self._departures.see_off(left, self._successor, lambda: None)
        logger.info("successfully updated '%s', a model of whose steps has changed", record.key)
        return True

    def _successor(self, request: InferenceRequest) -> Model:
        return self._table.find(request.model_name, request.model_version)

    def take_out_users(self, key: ModelKey) -> list[Model]:
        """This model is about to be unloaded: the ensembles that use it, and those round them, are taken out of service
        first. Returns their models, which may have requests still.
        """
        left: list[Model] = []
        for user in self._users(key):
            with self._records.operation(user.key) as record:
                if record.served is None:
                    continue
                logger.info("'%s' is not served any more, as '%s' is being unloaded", user.key, key)
                left += self._take_out(record, None)
            left += self.take_out_users(user.key)
        return left

    # ---- unloading an ensemble with the models of its steps

    def unused(self, steps: Sequence[ModelKey]) -> list[ModelKey]:
        """Those that nobody has asked for, and that no other ensemble uses."""
        found = []
        for step in steps:
            record = self._records.get(step)
            if record is None or record.asked_for:
                continue
            if not any(user.served is not None or user.awaiting is not None for user in self._users(step)):
                found.append(step)
        return found


def step_names(written: WrittenConfig) -> frozenset[str]:
    """The names of the models of an ensemble's steps, of all versions together."""
    configs = [written.config, *written.versions.values()]
    return frozenset(
        step.model_name for one in configs if one.ensemble_scheduling for step in one.ensemble_scheduling.step
    )


def _configs(steps: Mapping[int, Sequence[StepVersion]]) -> dict[int, list[ModelConfig | None]]:
    return {version: [one.config for one in models] for version, models in steps.items()}
