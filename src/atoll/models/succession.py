"""How one set of a model's versions follows another: what is new is built, what has not changed goes on."""

import logging
from collections.abc import Mapping

from atoll.config.model_config import ModelConfig
from atoll.models.departure import free
from atoll.models.loader import Loader
from atoll.models.model import Model
from atoll.models.record import UNLOADED, Record, failure
from atoll.models.records import Records, stopping
from atoll.models.served import Served, unchanged
from atoll.models.table import ModelTable
from atoll.repositories.repository import ModelFolder

logger = logging.getLogger(__name__)


class Succession:
    """Part of ModelControl; called in a model's turn."""

    def __init__(self, loader: Loader, table: ModelTable, records: Records):
        self._loader = loader
        self._table = table
        self._records = records

    def bring_up(self, record: Record, before: Served | None, after: Served) -> Mapping[int, Model]:
        """Build what is new, keep what has not changed, and let the one follow the other. Returns what was kept."""
        key, complete = record.key, after.complete
        kept = unchanged(before, after)
        built: dict[int, Model] = {}
        record.begin(complete.configs)
        self._table.know(key.name, map(str, complete.configs))
        version = 0
        try:
            for version in complete.configs:
                if version not in kept:
                    built[version] = self._loader.build(complete, version, key.namespace)
            for version, model in kept.items():
                self._update(model, complete.configs[version], complete.folder)
            if self._records.stopped:
                raise stopping()
        except BaseException as error:
            for model in built.values():
                model.refuse()
                free(model, deadline_ns=0)
            if before is not None:
                self._restore(before, kept)
            loaded = {*built, *kept} - {version}  # at which it failed
            record.failed = {str(one): UNLOADED if one in loaded else failure(error) for one in complete.configs}
            raise
        after.take_over(before, kept, built)
        record.succeed(after)
        self._table.serve(key, after.models.values())
        return kept

    def _restore(self, before: Served, kept: Mapping[int, Model]) -> None:
        """These go on as they were before a load that failed."""
        for version, model in kept.items():
            try:
                self._update(model, before.complete.configs[version], before.complete.folder)
            except Exception:
                logger.exception("the instances of '%s' version %s cannot be restored", model.name, version)

    def _update(self, model: Model, config: ModelConfig, folder: ModelFolder) -> None:
        if model.config.instance_group == config.instance_group:
            model.config = config
        elif self._loader.change_instances(model, config, folder):
            logger.info("successfully updated the instances of '%s' version %s", model.name, model.version)
