"""What config.pbtxt and --backend-config say about a session, under the names that Triton's TensorFlow backend uses."""

import json
import logging
from dataclasses import dataclass
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.model_path import named_file
from atoll.backends.parameters import MAX_THREADS, Parameters
from atoll.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """How to read a model and to run it. A thread count of 0 leaves the choice to TensorFlow.

    `shared_by` is how many instances share a session, 0 all of a device. `xla_level` is that of automatic clustering:
    0 leaves it to TensorFlow, below it is off, 1 and 2 are TensorFlow's ON_1 and ON_2.
    """

    signature: str = ""
    tags: tuple[str, ...] = ()
    init_ops: tuple[str, ...] = ()
    intra_threads: int = 0
    inter_threads: int = 0
    per_session_threads: bool = False
    shared_by: int = 0
    xla_level: int = 0
    jit_compile: bool = False
    allow_soft_placement: bool = True
    gpu_memory_fraction: float = 0.0

    @property
    def in_callers_thread(self) -> bool:
        """Whether operations that do not depend on each other run one by one; see docs/decisions/025."""
        return self.inter_threads < 2


def model_settings(source: ModelSource) -> ModelSettings:
    """Read them from the model's configuration and the backend's settings.

    Raises ConfigError naming the key and the values that it may have.
    """
    found = Parameters(source)
    if source.settings.get("version", "2").strip() == "1":
        logger.warning(
            "--backend-config=tensorflow,version=1: models run in TensorFlow 2, which runs those of TensorFlow 1 too"
        )
    tags = found.text("TF_GRAPH_TAG") or found.text("TAGS")
    policy = source.config.optimization
    level = policy.graph.level if policy is not None and policy.graph is not None else 0
    return ModelSettings(
        signature=found.text("TF_SIGNATURE_DEF"),
        tags=tuple(one.strip() for one in tags.split(",") if one.strip()),
        init_ops=_init_ops(source, found),
        intra_threads=found.number("TF_NUM_INTRA_THREADS", MAX_THREADS),
        inter_threads=found.number("TF_NUM_INTER_THREADS", MAX_THREADS),
        per_session_threads=found.switch("TF_USE_PER_SESSION_THREADS"),
        shared_by=found.number("MAX_SESSION_SHARE_COUNT", MAX_THREADS),
        xla_level=max(-1, min(level, 2)),
        jit_compile=found.switch("jit_compile"),
        allow_soft_placement=found.switch("allow-soft-placement", True),
        gpu_memory_fraction=found.decimal("gpu-memory-fraction", "a number from 0.0 to 1.0", least=0, largest=1),
    )


def _init_ops(source: ModelSource, found: Parameters) -> tuple[str, ...]:
    name = found.text("TF_INIT_OPS_FILE")
    if not name:
        return ()
    path = named_file(source, name)
    if path is None:
        raise found.wrong(
            "TF_INIT_OPS_FILE", f"a file in '{source.version_directory}' or in '{source.model_directory}'"
        )
    wanted = 'a JSON object with the element "init_ops", a list of names of operations'
    try:
        document: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"'{path}' (TF_INIT_OPS_FILE of model '{source.name}') is no JSON: {error}") from error
    names = document.get("init_ops") if isinstance(document, dict) else None
    if not isinstance(names, list) or not all(isinstance(one, str) and one for one in names):
        raise ConfigError(f"'{path}' (TF_INIT_OPS_FILE of model '{source.name}') must be {wanted}")
    return tuple(names)
