"""What is known of a model before anything of it is loaded: its configuration, completed, after the agents had it."""

from atoll.config.model_config import ModelConfig
from atoll.config.problems import config_error
from atoll.config.versions import choose_versions
from atoll.config.written import WrittenConfig
from atoll.errors import ConfigError
from atoll.models.completion import Completion, shown_to_agents
from atoll.models.ensembles.control import EnsembleControl, step_names
from atoll.models.ensembles.load_order import StepsFirst, Turn
from atoll.models.ensembles.steps import UnfitStepsError, circular
from atoll.models.load_errors import UnreadableModelError
from atoll.models.record import Record, failure
from atoll.models.served import Served, steps_of
from atoll.models.table import ModelTable
from atoll.repositories.agents.chain import AgentChain
from atoll.repositories.repository import ModelFolder


class Preparation:
    """For the models of one server. Thread-safe; a record's turn is the caller's."""

    def __init__(
        self, completion: Completion, ensembles: EnsembleControl, table: ModelTable, *, external_symlinks: bool
    ):
        self._completion = completion
        self._ensembles = ensembles
        self._table = table
        self._external_symlinks = external_symlinks

    def demand_steps(self, turn: Turn, written: WrittenConfig, anew: bool) -> None:
        """Raises StepsFirst unless the models of the ensemble's steps have been loaded."""
        if not turn.steps_ready:
            steps = self._ensembles.steps(turn.key, written, anew=anew)
            if steps:
                raise StepsFirst(steps)

    def prepare(
        self, record: Record, turn: Turn, folder: ModelFolder, override: ModelConfig | None, anew: bool
    ) -> Served:
        """The model as it is to be served. Raises StepsFirst as `demand_steps`, and AtollError with all that is wrong;
        `record` has then how far its versions came.
        """
        written = self._written(folder, override)
        self.demand_steps(turn, written, anew)
        record.step_names = step_names(written)
        if not record.step_names:  # to the real server, one that does not fit its steps is unknown
            self._table.know(folder.name)
        agents = AgentChain.of(
            written.config.model_repository_agents, folder, written.config, external_symlinks=self._external_symlinks
        )
        given, folder = folder, shown_to_agents(agents, folder, written)
        try:
            if folder != given:
                written = self._written(folder, override)
            if turn.circle:
                problem = circular(str(turn.key), map(str, turn.circle))
                error = config_error(written.locate([problem]), str(written.file or folder.directory))
                raise UnfitStepsError(str(error), error.problems)
            complete = self._completion.complete(folder, written, find_step=self._ensembles.finder(turn.key))
        except UnfitStepsError:
            agents.load_fail()
            raise
        except BaseException as error:
            agents.load_fail()
            versions = choose_versions(written.config.version_policy, folder.versions)
            record.failed = {str(version): failure(error) for version in versions}
            self._table.know(folder.name, record.failed)
            raise
        record.steps = steps_of(complete)
        return Served(complete, agents, override=override)

    def _written(self, folder: ModelFolder, override: ModelConfig | None) -> WrittenConfig:
        try:
            return self._completion.written(folder, override)
        except ConfigError as error:
            raise UnreadableModelError(str(error), error.problems) from error
