"""What a server and a model say of themselves: the metadata documents of the KServe protocol, as records."""

from dataclasses import dataclass

from atoll.tensor import DataType

EXTENSIONS = (
    "classification",
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "cuda_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
"""The protocol extensions that a server speaks, in Triton's order."""


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """The server's name, its version, and the protocol extensions that it speaks: `EXTENSIONS`."""

    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """An input or output: its shape has -1 for each variable dimension and begins with the batch dimension, if there
    is one.
    """

    name: str
    datatype: DataType
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A model: its ready versions, and the tensors of the version asked about."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
