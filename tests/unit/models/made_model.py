"""A model of one version around a pool of the test's own."""

from pathlib import Path
from typing import Any

from atoll.config.model_config import ModelConfig
from atoll.execution.deadline import Deadlines
from atoll.models.admission import Admission
from atoll.models.model import Model
from atoll.models.request_validation import request_spec
from atoll.observability.statistics.recorder import StatisticsRecorder


def model_of(
    pool: Any,
    config: ModelConfig,
    deadlines: Deadlines,
    *,
    server: Admission | None = None,
    own: Admission | None = None,
) -> Model:
    """`server` and `own`: what admits requests to all models and to this one."""
    return Model(
        config,
        "1",
        platform="",
        spec=request_spec(config),
        pool=pool,
        backend_model=None,  # type: ignore[arg-type]
        statistics=StatisticsRecorder(config.name, "1"),
        directory=Path(),
        deadlines=deadlines,
        admission=server,
        own_admission=own,
    )
