"""What is served of one model, what it was made from, and what of it can go on when the model is loaded anew."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.config.model_config import ModelConfig
from atoll.models.catalog import ModelKey
from atoll.models.completion import CompleteModel
from atoll.models.instance_placements import same_but_instances
from atoll.models.model import Model
from atoll.repositories.agents.chain import AgentChain
from atoll.repositories.fingerprint import changed_versions
from atoll.repositories.lease import Lease
from atoll.repositories.overrides import TemporaryModel
from atoll.repositories.repository import Repository

_CONFIG_FILES = frozenset({"config.pbtxt", "config.json", "config.yaml", "config.yml"})
_CONFIG_FOLDERS = ("configs/", "versions/")


@dataclass(slots=True)
class Served:
    """One load's outcome. `files`: tokens of the repository's files when it began. `override`: the configuration that
    came with the request. `temporary`: so did the files; else `lease` is their folder in the `repository`, and `leases`
    has for each version that of the folder from which it was built.
    """

    complete: CompleteModel
    agents: AgentChain
    override: ModelConfig | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    models: dict[int, Model] = field(default_factory=dict)
    temporary: TemporaryModel | None = None
    repository: Repository | None = None
    lease: Lease | None = None
    leases: dict[int, Lease] = field(default_factory=dict)

    def is_from(self, files: Mapping[str, str]) -> bool:
        """Whether it is what these files of the repository make."""
        return self.override is None and self.files == files

    def take_over(self, before: "Served | None", kept: Mapping[int, Model], built: Mapping[int, Model]) -> None:
        """These versions go on from before, and those were built now."""
        self.models = dict(sorted({**kept, **built}.items()))
        if before is not None:
            self.leases = {version: before.leases[version] for version in kept if version in before.leases}
        if self.lease is not None:
            self.leases |= {version: self.lease.hold() for version in built}

    def let_go(self, versions: Mapping[int, Model]) -> None:
        """Nothing of these versions runs any more, nor is this what the model is made from."""
        self.agents.unload_complete()
        for version in versions:
            if version in self.leases:
                self.leases[version].drop()
        if self.lease is not None:
            self.lease.drop()
        if self.temporary is not None:
            self.temporary.remove()


def steps_of(complete: CompleteModel) -> frozenset[ModelKey]:
    """The models that it is made of, where it is an ensemble."""
    ensembles = (config.ensemble_scheduling for config in complete.configs.values())
    return frozenset(
        ModelKey(step.model_name, step.model_namespace) for one in ensembles if one is not None for step in one.step
    )


def unchanged(before: Served | None, after: Served) -> dict[int, Model]:
    """The versions that are served already as they are to be served, their number of instances aside."""
    if before is None or any(_is_made_up(one) for one in (before, after)):
        return {}
    changes = changed_versions(_model_files(before.files), _model_files(after.files))
    if changes.shared or before.complete.backend is not after.complete.backend:
        return {}
    return {
        version: before.models[version]
        for version, config in after.complete.configs.items()
        if version in before.models
        and version not in changes.versions
        and same_but_instances(before.complete.configs[version], config)
        and before.complete.steps.get(version) == after.complete.steps.get(version)
    }


def _is_made_up(served: Served) -> bool:
    """Its files are not those of the repository, whose tokens say nothing of them."""
    return served.temporary is not None or served.complete.written.config.model_repository_agents is not None


def _model_files(files: Mapping[str, str]) -> dict[str, str]:
    """Without the configuration's: what they say is compared, not when they were written."""
    return {
        path: token
        for path, token in files.items()
        if path not in _CONFIG_FILES and not path.startswith(_CONFIG_FOLDERS)
    }
