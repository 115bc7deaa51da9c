"""Loading, reloading and unloading: which versions of a model are served, and how one set of them follows another.

A new version is loaded and warm before the one in its place stops taking requests, and that one answers all that it has
taken before it is freed. A load that fails changes nothing. Operations on one model follow each other; those on
different models run at the same time.
"""

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from time import monotonic, monotonic_ns

from atoll.config.model_config import ModelConfig
from atoll.config.override import read_override
from atoll.errors import (
    AtollError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from atoll.models.catalog import Catalog, ModelKey
from atoll.models.completion import Completion
from atoll.models.departure import Departures
from atoll.models.ensembles.control import EnsembleControl
from atoll.models.ensembles.load_order import Models, StepsFirst, Turn, load_in_order
from atoll.models.ensembles.steps import UnfitStepsError
from atoll.models.load_errors import not_loaded, not_polled
from atoll.models.loader import Loader
from atoll.models.model import Model
from atoll.models.preparation import Preparation
from atoll.models.record import Record
from atoll.models.records import Records
from atoll.models.served import Served
from atoll.models.succession import Succession
from atoll.models.table import ModelTable
from atoll.observability.logging.extras import naming, report
from atoll.repositories.lease import Lease, leased
from atoll.repositories.overrides import write_override
from atoll.repositories.repository import Repository
from atoll.request import InferenceRequest

logger = logging.getLogger(__name__)


class ModelControl:
    """The models of one server. Thread-safe."""

    def __init__(
        self,
        catalog: Catalog,
        completion: Completion,
        loader: Loader,
        table: ModelTable,
        *,
        retry_count: int = 0,
        external_symlinks: bool = False,
        threads: int = 1,
    ):
        self._catalog = catalog
        self._table = table
        self._retry_count = retry_count
        self._threads = threads  # that load the models of one ensemble
        self._departures = Departures()
        self.records = Records(table.is_asleep)
        self._succession = Succession(loader, table, self.records)
        self._ensembles = EnsembleControl(
            self.records, catalog, completion, loader, table, self._departures, self._load_again, self._take_out
        )
        self._preparation = Preparation(completion, self._ensembles, table, external_symlinks=external_symlinks)

    # ---- load

    def load(self, name: str, *, config: str = "", files: Mapping[str, bytes] | None = None) -> None:
        """Load a model, or load it anew; nothing happens where what is served is what lies in the repository. With
        namespaces, every model of that name.

        `config`: a configuration in its JSON form, in place of the one in the repository. `files`: the model's files,
        by path relative to its folder, in place of those in the repository. Returns when the new versions are served.
        Raises AtollError with everything that is wrong; what was served before is served on.
        """
        try:
            if files and not config:
                raise InvalidArgumentError("Load parameter 'config' must be specified for model file override")
            override = read_override(config) if config else None
            found = self._find(name, bool(files))
        except AtollError as error:
            raise not_polled(name, error) from error

        def load(turn: Turn) -> None:
            named = turn.key in found
            self.load_turn(turn, override=override if named else None, files=files if named else None, anew=True)

        failed = load_in_order(found, load, self._threads)
        for key in found:
            record = self.records.get(key)
            if key in failed:
                raise not_loaded(name, record.failed if record is not None else {}, failed[key]) from failed[key]
        self._note_asked_for(found)

    def load_all(self, wanted: Models, load: Callable[[Turn], None]) -> dict[ModelKey, AtollError]:
        """Load these, several at once, and those that they need before them, each by way of `load`, which calls
        `load_turn`. Returns those that failed. Who interrupts it need not wait.
        """
        failed = load_in_order(wanted, load, self._threads, leave_behind=True)
        self._note_asked_for(wanted)
        return failed

    def _note_asked_for(self, wanted: Models) -> None:
        for key in wanted:
            record = self.records.get(key)
            if record is not None:
                record.asked_for = True

    def _find(self, name: str, with_files: bool) -> Models:
        try:
            return {**self._catalog.find(name)}
        except NotFoundError:
            if with_files:
                return {ModelKey(name): None}
            raise

    def load_key(self, key: ModelKey, repository: Repository | None) -> None:
        """The same for a model of this repository."""
        failed = load_in_order({key: repository}, partial(self.load_turn, anew=True), self._threads)
        if key in failed:
            raise failed[key]
        self._note_asked_for({key: repository})

    def load_turn(
        self,
        turn: Turn,
        *,
        override: ModelConfig | None = None,
        files: Mapping[str, bytes] | None = None,
        asleep: bool = False,
        anew: bool = False,
    ) -> None:
        """Load a model whose turn it is. Raises StepsFirst for an ensemble the models of whose steps have not had
        theirs; with `anew`, also those that are served have one.

        `asleep`: only if it still is; an unload may have come first.
        """
        key = turn.key
        with self.records.operation(key) as record:
            if asleep and not self._table.is_asleep(key.name):
                return
            if not self._try(record, turn, override, files, anew):
                return
        self._ensembles.check(key)
        self._ensembles.follow(key)

    def _try(
        self,
        record: Record,
        turn: Turn,
        override: ModelConfig | None,
        files: Mapping[str, bytes] | None,
        anew: bool,
        *,
        quietly: bool = False,
    ) -> bool:
        """Whether what is served has changed. `quietly`: one that still waits for its steps is left as it is."""
        key = record.key
        for left in range(self._retry_count, -1, -1):
            record.failed = {}
            try:
                return self._load(record, turn, override, files, anew)
            except StepsFirst:
                raise
            except Exception as error:
                known = _as_atoll_error(key, error)
                if quietly and isinstance(known, UnfitStepsError):
                    raise
                if not left or self.records.stopped or isinstance(known, UnfitStepsError):
                    first, others = report(known)
                    logger.error("failed to load '%s': %s", key, first, extra={**others, **naming(key.name)})
                    record.fail(known)
                    if isinstance(known, UnfitStepsError) and record.served is None and not files:
                        record.awaiting = turn.repository, override
                    if turn.repository is None:
                        self._forget(record)
                    raise known from error
                text = "loading '%s' failed and is tried again (%d left): %s"
                logger.warning(text, key, left, known, extra=naming(key.name))
            except BaseException:
                record.fail(UnavailableError("the load was interrupted"))
                raise
        raise AssertionError("the last try returns or raises. This is a bug")

    def _load_again(self, record: Record, turn: Turn) -> bool:
        assert record.awaiting is not None, "only what waits for its steps is loaded again. This is a bug"
        try:
            # where it was merely unloaded with one of its steps' models, it goes on waiting for that
            return self._try(record, turn, record.awaiting[1], None, False, quietly=record.error is None)
        except AtollError:
            return False

    def _forget(self, record: Record) -> None:
        """Of a model that no repository has nothing is left, however many names clients think of."""
        if record.served is None:
            self.records.forget(record)
            self._table.forget(record.key.name)

    def _load(
        self,
        record: Record,
        turn: Turn,
        override: ModelConfig | None,
        files: Mapping[str, bytes] | None,
        anew: bool,
    ) -> bool:
        repository = turn.repository
        key, before = record.key, record.served
        started = monotonic()
        temporary = lease = None
        tokens: Mapping[str, str] = {}
        if files:
            temporary = write_override(key.name, files)
            folder = temporary.folder
        else:
            assert repository is not None, "only a model that comes with its files has no repository"
            tokens = repository.files(key.name)  # before they are read: what changes meanwhile is seen the next time
            if before is not None and override is None and before.is_from(tokens):
                self._preparation.demand_steps(turn, before.complete.written, anew)
                if not before.complete.steps or _versions_of(repository, key) == before.complete.folder.versions.keys():
                    record.error = None
                    return False
            folder = repository.folder(key.name)
            lease = Lease(repository, folder)
        try:
            after = self._preparation.prepare(record, turn, folder, override, anew)
            after.files, after.lease, after.temporary, after.repository = tokens, lease, temporary, repository
            try:
                for problem in after.complete.warnings:
                    logger.warning("%s", problem)
                kept = self._succession.bring_up(record, before, after)
            except BaseException:
                after.agents.load_fail()
                raise
        except BaseException:
            if temporary is not None:
                temporary.remove()
            if lease is not None:
                lease.drop()
            raise
        after.agents.load_complete()
        if before is not None:
            self._dismiss(record, before, {v: one for v, one in before.models.items() if v not in kept})
        names = ", ".join(str(version) for version in after.models)
        about = naming(key.name, after.models)
        logger.info("successfully loaded '%s' version %s in %.2f s", key, names, monotonic() - started, extra=about)
        return True

    # ---- unload

    def unload(self, name: str, *, unload_dependents: bool = False) -> None:
        """Take a model out of service. It answers what it has taken, and is freed after that, in the background.

        With namespaces, every model of that name. `unload_dependents`: with an ensemble also the models of its steps. A
        name that nobody knows is unloaded already, as for the real server.
        """
        self._table.wake(name)
        for record in self.records.of_name(name):
            self._unload_with_steps(record, unload_dependents)

    def _unload_with_steps(self, record: Record, unload_dependents: bool) -> None:
        self.unload_key(record.key)
        if unload_dependents:
            for step in self._ensembles.unused(sorted(record.steps)):
                known = self.records.get(step)
                if known is not None:
                    self._unload_with_steps(known, True)

    def unload_key(self, key: ModelKey, *, asleep: bool = False) -> None:
        """The same for the model under this key; one that goes to sleep is loaded again when somebody asks for it."""
        if not asleep:
            self._table.wake(key.name)
        if self.records.get(key) is None:
            return
        users = [] if asleep else self._ensembles.take_out_users(key)
        with self.records.operation(key) as record:
            before = record.fall(None, asleep=asleep)
            if not asleep:
                record.asked_for, record.awaiting = False, None
                self._table.wake(key.name)  # it may have gone to sleep while this waited for its turn
            if before is None:
                return
            if asleep:
                self._table.put_to_sleep([key.name])
            elif any(user.in_flight() for user in users):
                self._table.leave(key, before.models.values())
            self._table.serve(key, ())
            self._dismiss(record, before, before.models, users)
            if before.temporary is None:
                lost = before.repository not in self._catalog.repositories
            else:
                lost = key not in self._catalog.list().models
            if lost:
                self._forget(record)
        if self._catalog.namespacing and not asleep:
            self._ensembles.follow(key)  # there may be another of that name

    def _take_out(self, record: Record, error: AtollError | None) -> Sequence[Model]:
        """An ensemble the models of whose steps are not as it needs them, until they are again."""
        before = record.fall(error)
        if before is None:
            return []
        if before.temporary is None:
            record.awaiting = before.repository, before.override
        models = list(before.models.values())
        self._table.serve(record.key, ())
        self._dismiss(record, before, before.models)
        return models

    def remove_key(self, key: ModelKey) -> None:
        """As `unload_key`, of a model that its repository does not have any more: nothing of it is remembered."""
        self.unload_key(key)
        with self.records.operation(key) as record:
            self._forget(record)

    def forget_lost(self) -> None:
        """Nothing is remembered of models that no repository has any more, unless they are served or being loaded."""
        listed = self._catalog.list().models
        for record in self.records.all():
            if record.served is None and record.key not in listed and not record.operation.locked():
                with self.records.operation(record.key) as turn:
                    self._forget(turn)

    # ---- what follows a change

    def _dismiss(
        self, record: Record, before: Served, models: Mapping[int, Model], users: Sequence[Model] = ()
    ) -> None:
        """These versions of what was served before are not served any more: they finish what they have, and go."""
        gone = {model.version for model in models.values()} - self._table.served(record.key).keys()
        record.leave(gone)
        before.agents.unload()

        def freed() -> None:
            record.left(gone)
            self._table.left(record.key)
            before.let_go(models)
            if models:
                names = ", ".join(map(str, models))
                logger.info(
                    "successfully unloaded '%s' version %s", record.key, names, extra=naming(record.key.name, models)
                )

        self._departures.see_off(list(models.values()), self._successor, freed, users=users)

    def _successor(self, request: InferenceRequest) -> Model:
        return self._table.find(request.model_name, request.model_version)

    # ---- ask

    def is_overridden(self, key: ModelKey) -> bool:
        """Whether what is served is not the repository's own: what is unloaded of it cannot come back by itself."""
        record = self.records.get(key)
        served = record.served if record is not None else None
        return served is not None and (served.override is not None or served.temporary is not None)

    def in_flight(self) -> int:
        """How many requests the models that are on their way out still have."""
        return self._departures.in_flight()

    # ---- stop

    def refuse(self) -> None:
        """Take no more loads and unloads."""
        self.records.refusing = True

    def drain(self, deadline_ns: int) -> bool:
        """Wait until the models on their way out are gone; False when the deadline came first."""
        return self._departures.wait(deadline_ns)

    def stop(self, deadline_ns: int) -> bool:
        """Take every model out of service and free it; nothing is loaded after that. False when a request outlasted
        the deadline.
        """
        self.records.refusing = self.records.stopped = True
        self._departures.hurry(deadline_ns)
        clean = True
        for record in self.records.all():
            # a load that is under way ends by itself; its model is never served
            if not record.operation.acquire(timeout=max(deadline_ns - monotonic_ns(), 0) / 1e9):
                logger.error("'%s' is still being loaded and could not be stopped", record.key)
                clean = False
                continue
            try:
                before = record.fall(record.error)
                if before is not None:
                    self._table.serve(record.key, ())
                    self._dismiss(record, before, before.models)
            finally:
                record.operation.release()
        return self._departures.wait(deadline_ns) and clean


def _versions_of(repository: Repository, key: ModelKey) -> Set[int]:
    """Of an ensemble, whose version folders may be empty: no file says that there is another."""
    with leased(repository, key.name) as folder:
        return folder.versions.keys()


def _as_atoll_error(key: ModelKey, error: Exception) -> AtollError:
    if isinstance(error, AtollError):
        return error
    logger.error("failed to load '%s'", key, exc_info=error, extra=naming(key.name))
    return InternalError(f"{type(error).__name__}: {error}")
