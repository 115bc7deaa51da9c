"""Small PyTorch models made on the spot, and a way to load them through a server or the backend itself."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.backends.config_text import tensor_text
from tests.backends.conftest import RepositoryWriter

from atoll import Server
from atoll.backends.api import Placement
from atoll.backends.pytorch import PyTorchBackend
from atoll.errors import ConfigError
from atoll.testing.backend_contract.workshop import Workshop


def config_text(inputs: str = "INPUT__0", outputs: str = "OUTPUT__0", *, batch: int = 8, more: str = "") -> str:
    """FP32 tensors of four numbers under these names."""
    lines = [f'backend: "pytorch"\nmax_batch_size: {batch}\n']
    lines += [tensor_text("input", name) for name in inputs.split()]
    lines += [tensor_text("output", name) for name in outputs.split()]
    return "".join([*lines, more, "\n"])


class TorchModels:
    """Writes models into a repository, and loads them."""

    def __init__(self, repository: RepositoryWriter, start_server: Callable[..., Server], settings: Mapping[str, str]):
        self.repository = repository
        self._start_server = start_server
        self._workshop = Workshop("pytorch", settings, repository.path)

    def script(self, module: torch.nn.Module, config: str | None, name: str = "m") -> Path:
        """The file of a TorchScript model."""
        file = "model.pt"
        return self.repository.model(name, config, {file: torch.jit.script(module.eval()).save}) / file

    def exported(
        self, module: torch.nn.Module, examples: tuple[Any, ...], config: str | None, name: str = "m", **more: Any
    ) -> Path:
        """The file of an exported program."""
        program = torch.export.export(module.eval(), examples, **more)
        file = "model.pt2"
        return self.repository.model(name, config, {file: lambda path: torch.export.save(program, path)}) / file

    def eager(
        self, code: str, config: str, weights: object = None, name: str = "m", runtime: str = 'runtime: "model.py"\n'
    ) -> Path:
        """The model.py of a class, with weights beside it."""
        folder = self.repository.model(name, config + runtime, {"model.py": "import torch\n" + code})
        if weights is not None:
            torch.save(weights, folder / "model.pt")
        return folder / "model.py"

    def server(self, **options: Any) -> Server:
        """A server of all that is written."""
        return self._start_server(**options)

    def refusal(self, name: str = "m", **options: Any) -> str:
        """Why a server does not load the model."""
        server = self._start_server(model_control_mode="explicit", **options)
        with pytest.raises(ConfigError) as refusal:
            server.load_model(name)
        assert len(str(refusal.value)) < 4000
        return str(refusal.value)

    @contextmanager
    def model(self, name: str = "m") -> Iterator[Any]:
        """What the backend itself makes of a model, as a server would have it loaded."""
        _, source = self._workshop.complete(self.repository.path / name)
        model = PyTorchBackend().load(source)
        try:
            yield model
        finally:
            model.close()

    @contextmanager
    def instance(self, name: str = "m") -> Iterator[Any]:
        with self.model(name) as model:
            instance = model.instance(Placement("m_0_0"))
            try:
                yield instance
            finally:
                instance.close()


@pytest.fixture
def models(repository: RepositoryWriter, start_server: Callable[..., Server]) -> TorchModels:
    return TorchModels(repository, start_server, {})


@pytest.fixture
def trusting(repository: RepositoryWriter, start_server: Callable[..., Server]) -> TorchModels:
    """The same, where the operator allows pickles."""
    return TorchModels(repository, start_server, {"allow-pickle": "true"})


@pytest.fixture
def four() -> np.ndarray[Any, Any]:
    """Two rows of four numbers, some below zero; not to be written to."""
    array = np.array([[1, -2, 3, -4], [5, 6, -7, 8]], np.float32)
    array.flags.writeable = False
    return array
