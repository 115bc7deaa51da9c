"""Where the models of the suite are made: written once for all tests of a class, and copied for each that needs one."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from atoll.backends.api import BackendModel, Instance, ModelSource, Placement
from atoll.backends.registry import find_backend
from atoll.config.model_config import ModelConfig
from atoll.models.completion import CompleteModel, Completion
from atoll.options import ServerOptions
from atoll.repositories.repository import ModelFolder
from atoll.server import Server
from atoll.testing.backend_contract.declaration import ModelFiles

VERSION = 1
LARGEST_BATCH = 8
Spec = tuple[str, str, tuple[int, ...]]  # name, data type, dims


@dataclass(frozen=True, slots=True)
class MadeModel:
    """A model as a maker has written it. `inputs` and `outputs`: names, data types and dims without the batch's."""

    files: Path
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    batching: bool
    extra: str

    def config(
        self,
        *,
        max_batch_size: int | None = None,
        inputs: Sequence[Spec] | None = None,
        outputs: Sequence[Spec] | None = None,
        more: str = "",
    ) -> str:
        """The text of a complete configuration, but for `backend`, with what a test wants otherwise."""
        size = (LARGEST_BATCH if self.batching else 0) if max_batch_size is None else max_batch_size
        lines = [f"max_batch_size: {size}"]
        lines += [_tensor("input", *one) for one in (self.inputs if inputs is None else inputs)]
        lines += [_tensor("output", *one) for one in (self.outputs if outputs is None else outputs)]
        return "\n".join([*lines, self.extra, more, ""])

    def config_with(self, kind: str, specs: Sequence[Spec]) -> str:
        """The same with other "inputs" or "outputs" than the model has."""
        return self.config(inputs=specs) if kind == "inputs" else self.config(outputs=specs)


def _tensor(kind: str, name: str, datatype: str, dims: tuple[int, ...]) -> str:
    config_type = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    # a configuration's dims are never empty: the client sends one element, and the model sees no dimension
    shape = f"dims: {list(dims)}" if dims else "dims: [1], reshape: {shape: []}"
    return f'{kind} [{{name: "{name}", data_type: {config_type}, {shape}}}]'


def instance_of(model: BackendModel, number: int = 0) -> Instance:
    """An instance on the CPU."""
    return cast("Instance", model.instance(Placement(f"m_0_{number}")))


class Workshop:
    """Makes and loads the models of one author's class. `root` is a folder of its own."""

    def __init__(self, backend: str, settings: Mapping[str, str], root: Path):
        self.backend_name = backend
        self.root = root
        self.backend_config = tuple(f"{backend},{key}={value}" for key, value in settings.items())
        self._settings = settings
        self._made: dict[tuple[Any, ...], MadeModel] = {}
        self._folders = 0

    def make(
        self,
        key: tuple[Any, ...],
        maker: Callable[[Path], ModelFiles],
        specs: tuple[str, tuple[int, ...]],
        batching: bool,
    ) -> MadeModel:
        """The model that the maker writes into a folder, written once for each key."""
        if key not in self._made:
            folder = self.folder() / str(VERSION)
            folder.mkdir(parents=True)
            found = maker(folder)
            assert isinstance(found, ModelFiles), f"a maker returns ModelFiles, but this one returned {found!r}"
            inputs = tuple((name, *specs) for name in found.inputs)
            outputs = tuple((name, *specs) for name in found.outputs)
            self._made[key] = MadeModel(folder, inputs, outputs, batching, found.config)
        return self._made[key]

    def folder(self) -> Path:
        """A path at which nothing is yet."""
        self._folders += 1
        return self.root / f"made{self._folders}"

    def fresh_name(self) -> str:
        """A model's name that no other test has."""
        self._folders += 1
        return f"model{self._folders}"

    def put(self, repository: Path, name: str, made: MadeModel, config: str | None = None) -> Path:
        """Copy a model into a repository, with this configuration; its folder."""
        folder = repository / name
        shutil.copytree(made.files, folder / str(VERSION), dirs_exist_ok=True)
        text = made.config() if config is None else config
        (folder / "config.pbtxt").write_text(f'backend: "{self.backend_name}"\n{text}')
        return folder

    def complete(self, folder: Path) -> tuple[ModelConfig, ModelSource]:
        """The complete configuration of a model in that folder, and the model as its backend's `load` is given it."""
        completion = Completion(ServerOptions(), {self.backend_name: self._settings}, environment={})
        where = ModelFolder(folder.name, folder, {VERSION: folder / str(VERSION)})
        complete: CompleteModel = completion.complete(where, completion.written(where))
        config = complete.configs[VERSION]
        return config, completion.source(where, config, VERSION)

    def written_source(self, folder: Path) -> ModelSource:
        """The model as its backend's `signature` is given it: with nothing in the configuration but what is written."""
        completion = Completion(ServerOptions(), {self.backend_name: self._settings}, environment={})
        where = ModelFolder(folder.name, folder, {VERSION: folder / str(VERSION)})
        return completion.source(where, completion.written(where).config, VERSION)

    @contextmanager
    def loaded(self, made: MadeModel, config: str | None = None) -> Iterator[BackendModel]:
        """The model, loaded by the backend itself without a server; closed at the end."""
        _, source = self.complete(self.put(self.folder(), "m", made, config))
        model: BackendModel = find_backend(self.backend_name).load(source)
        try:
            yield model
        finally:
            model.close()

    @contextmanager
    def instance(self, made: MadeModel, config: str | None = None) -> Iterator[Instance]:
        """An instance of it on the CPU; closed at the end."""
        with self.loaded(made, config) as model:
            instance = instance_of(model)
            try:
                yield instance
            finally:
                instance.close()

    def server(self, repository: Path, **options: Any) -> Server:
        """A server of that repository, not started yet, which loads no model by itself."""
        usual = {"model_control_mode": "explicit", "exit_on_error": False}
        return Server(repository, backend_config=self.backend_config, **{**usual, **options})
