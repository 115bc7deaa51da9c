"""Functions exported on the spot, and the backend that serves them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atoll.backends.api import Instance, ModelSource, Placement
from atoll.backends.jax import JaxBackend
from atoll.config.autofill import fill, normalize
from atoll.config.model_config import ModelConfig, ModelParameter


class JaxModels:
    """Writes artifacts into a repository under the test's own folder, and loads them."""

    def __init__(self, root: Path):
        self.root = root
        self.backend = JaxBackend()

    def spec(self, shape: str, dtype: str = "float32", scope: Any = None) -> Any:
        """A tensor to export with, of a shape such as "b, 4"; those with a `scope` share its variables."""
        import jax
        from jax import export

        dims = export.symbolic_shape(shape, scope=scope) if scope is not None else export.symbolic_shape(shape)
        return jax.ShapeDtypeStruct(dims, dtype)

    def specs(self, *shapes: str, dtype: str = "float32") -> list[Any]:
        """Several of them, whose variables are the same where they have the same name."""
        from jax import export

        scope = export.SymbolicScope()
        return [self.spec(one, dtype, scope) for one in shapes]

    def exported(self, function: Callable[..., Any], *specs: Any, platforms: Any = None, **named: Any) -> Any:
        import jax
        from jax import export

        with jax.enable_x64(True):
            return export.export(jax.jit(function), platforms=platforms)(*specs, **named)

    def write(self, function: Callable[..., Any], *specs: Any, platforms: Any = None, **named: Any) -> ModelSource:
        return self.file(bytes(self.exported(function, *specs, platforms=platforms, **named).serialize()))

    def file(self, content: bytes, filename: str = "model.jax") -> ModelSource:
        directory = self.root / "m"
        (directory / "1").mkdir(parents=True, exist_ok=True)
        (directory / "1" / filename).write_bytes(content)
        config = ModelConfig(name="m", backend="jax")
        return ModelSource(
            name="m", version=1, model_directory=directory, version_directory=directory / "1", config=config
        )

    def configured(
        self, source: ModelSource, parameters: Mapping[str, str] | None = None, max_batch_size: int = 0
    ) -> ModelSource:
        """The source with a complete configuration."""
        records = {key: ModelParameter(string_value=value) for key, value in (parameters or {}).items()}
        config = replace(source.config, parameters=records, max_batch_size=max_batch_size)
        config = fill(config, self.backend.signature(source), default_max_batch_size=0)
        return replace(source, config=normalize(config, name="m"))

    def instance(self, source: ModelSource) -> Instance:
        return self.backend.load(source).instance(Placement(name="m_0"))


@pytest.fixture
def models(tmp_path: Path) -> JaxModels:
    return JaxModels(tmp_path)
