"""The JSON documents of the KServe protocol and Triton's extensions, as plain dicts in the real server's key order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from atoll.config.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from atoll.observability.statistics.durations import Duration
from atoll.observability.statistics.model import BatchStatistics, ModelStatistics
from atoll.observability.statistics.responses import ResponseStatistics

Document = dict[str, Any]


class IndexLine(Protocol):
    """A line of the repository index, as the server gives them."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def reason(self) -> str: ...


def server_metadata(server: ServerMetadata) -> Document:
    """GET /v2"""
    return {"name": server.name, "version": server.version, "extensions": list(server.extensions)}


def model_metadata(model: ModelMetadata) -> Document:
    """GET /v2/models/{model}"""
    return {
        "name": model.name,
        "versions": list(model.versions),
        "platform": model.platform,
        "inputs": [_tensor(one) for one in model.inputs],
        "outputs": [_tensor(one) for one in model.outputs],
    }


def _tensor(tensor: TensorMetadata) -> Document:
    return {"name": tensor.name, "datatype": tensor.datatype.protocol_name, "shape": list(tensor.shape)}


def statistics(models: Sequence[ModelStatistics], memory: Mapping[tuple[str, str], int]) -> Document:
    """GET /v2/models/stats and GET /v2/models/{model}/stats. `memory`: bytes of host memory by model and version, of
    those where it is known.
    """
    return {"model_stats": [_model_statistics(one, memory.get((one.name, one.version), 0)) for one in models]}


def _model_statistics(model: ModelStatistics, memory_bytes: int) -> Document:
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": model.last_inference_ms,
        "inference_count": model.inference_count,
        "execution_count": model.execution_count,
        "inference_stats": {
            "success": _duration(model.success),
            "fail": _duration(model.fail),
            "queue": _duration(model.queue),
            "compute_input": _duration(model.compute_input),
            "compute_infer": _duration(model.compute_infer),
            "compute_output": _duration(model.compute_output),
            "cache_hit": _duration(model.cache_hit),
            "cache_miss": _duration(model.cache_miss),
        },
        "response_stats": {str(place): _response_statistics(one) for place, one in enumerate(model.response_stats)},
        "batch_stats": [_batch_statistics(one) for one in model.batch_stats],
        "memory_usage": [{"type": "CPU", "id": 0, "byte_size": memory_bytes}] if memory_bytes else [],
    }


def _batch_statistics(batch: BatchStatistics) -> Document:
    return {
        "batch_size": batch.batch_size,
        "compute_input": _duration(batch.compute_input),
        "compute_infer": _duration(batch.compute_infer),
        "compute_output": _duration(batch.compute_output),
    }


def _response_statistics(responses: ResponseStatistics) -> Document:
    return {
        "compute_infer": _duration(responses.compute_infer),
        "compute_output": _duration(responses.compute_output),
        "success": _duration(responses.success),
        "fail": _duration(responses.fail),
        "empty_response": _duration(responses.empty_response),
        "cancel": _duration(responses.cancel),
    }


def _duration(duration: Duration) -> Document:
    return {"count": duration.count, "ns": duration.ns}


def repository_index(lines: Iterable[IndexLine]) -> list[Document]:
    """POST /v2/repository/index: what is empty is left out, except for the name."""
    keys = ("name", "version", "state", "reason")
    return [{key: value for key in keys if (value := getattr(one, key)) or key == "name"} for one in lines]


def error(text: str) -> Document:
    """The body of every refusal."""
    return {"error": text}
