"""How SageMaker starts a hosting container: the environment it sets, as options of the server.

The variables are those that the start script of Triton's container reads.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from atoll.errors import InvalidArgumentError

MODEL_FOLDER: Final = "/opt/ml/model"
"""Where SageMaker unpacks the one model's archive."""

DEFAULT_MODEL: Final = "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"

_VARIABLES = (
    "SAGEMAKER_BIND_TO_PORT",
    "SAGEMAKER_SAFE_PORT_RANGE",
    "SAGEMAKER_TRITON_THREAD_COUNT",
    "SAGEMAKER_TRITON_GRPC_PORT",
    "SAGEMAKER_TRITON_METRICS_PORT",
    "SAGEMAKER_TRITON_LOG_VERBOSE",
    "SAGEMAKER_TRITON_LOG_INFO",
    "SAGEMAKER_TRITON_LOG_WARNING",
    "SAGEMAKER_TRITON_LOG_ERROR",
    "SAGEMAKER_TRITON_BUFFER_MANAGER_THREAD_COUNT",
    "SAGEMAKER_TRITON_SHM_DEFAULT_BYTE_SIZE",
    "SAGEMAKER_TRITON_SHM_GROWTH_BYTE_SIZE",
)
_OPTIONS = (
    "--sagemaker-port=",
    "--sagemaker-safe-port-range=",
    "--sagemaker-thread-count=",
    "--grpc-port=",
    "--metrics-port=",
    "--log-verbose=",
    "--log-info=",
    "--log-warning=",
    "--log-error=",
    "--buffer-manager-thread-count=",
    "--backend-config=python,shm-default-byte-size=",
    "--backend-config=python,shm-growth-byte-size=",
)
"""Of these variables, in their order."""


def is_multi_model(environment: Mapping[str, str]) -> bool:
    """Whether SageMaker is going to say which models to load, and when."""
    return environment.get("SAGEMAKER_MULTI_MODEL") == "true"


def default_model(environment: Mapping[str, str], folders: Sequence[str]) -> str:
    """The one model's name. `folders`: those in MODEL_FOLDER. Raises InvalidArgumentError where it cannot be told."""
    name = environment.get(DEFAULT_MODEL, "")
    if name:
        if name not in folders:
            raise InvalidArgumentError(f"{DEFAULT_MODEL}={name}: there is no folder of that name in {MODEL_FOLDER}")
        return name
    if len(folders) != 1:
        found = f"more than one model ({', '.join(folders[:10])})" if folders else "no model"
        raise InvalidArgumentError(
            f"{found} found in {MODEL_FOLDER}: the archive must hold one folder, which holds config.pbtxt and the "
            f"versions' folders, or {DEFAULT_MODEL} must name the one that is meant"
        )
    return folders[0]


def container_arguments(environment: Mapping[str, str]) -> list[str]:
    """The command line of `atoll serve`, but for the repository and the models that are loaded at start."""
    values = [environment.get(name) for name in _VARIABLES]
    return [
        "--allow-sagemaker=true",
        "--allow-http=false",
        f"--allow-grpc={environment.get('SAGEMAKER_TRITON_ALLOW_GRPC', 'false')}",
        f"--allow-metrics={environment.get('SAGEMAKER_TRITON_ALLOW_METRICS', 'false')}",
        "--model-control-mode=explicit",
        *(f"{option}{value}" for option, value in zip(_OPTIONS, values, strict=True) if value),
    ]
