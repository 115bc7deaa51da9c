"""The names, fields and defaults of NVIDIA's package, as its documentation and its users' scripts have them."""

import inspect
import subprocess
import sys
from dataclasses import MISSING, fields
from typing import Any

import pytest

from atoll import tritonfrontend, tritonserver

OPTIONS = {
    "server_id": "triton",
    "model_repository": [],
    "model_control_mode": tritonserver.ModelControlMode.NONE,
    "startup_models": [],
    "strict_model_config": True,
    "rate_limiter_mode": tritonserver.RateLimitMode.OFF,
    "rate_limiter_resources": [],
    "pinned_memory_pool_size": 1 << 28,
    "cuda_memory_pool_sizes": {},
    "cache_config": {},
    "cache_directory": "/opt/tritonserver/caches",
    "min_supported_compute_capability": 6.0,
    "exit_on_error": True,
    "strict_readiness": True,
    "exit_timeout": 30,
    "buffer_manager_thread_count": 0,
    "model_load_thread_count": 4,
    "model_load_retry_count": 0,
    "model_namespacing": False,
    "enable_peer_access": True,
    "log_file": None,
    "log_info": False,
    "log_warn": False,
    "log_error": False,
    "log_format": tritonserver.LogFormat.DEFAULT,
    "log_verbose": 0,
    "metrics": True,
    "gpu_metrics": True,
    "cpu_metrics": True,
    "metrics_interval": 2000,
    "backend_directory": "/opt/tritonserver/backends",
    "repo_agent_directory": "/opt/tritonserver/repoagents",
    "model_load_device_limits": [],
    "backend_configuration": {},
    "host_policies": {},
    "metrics_configuration": {},
}
RECORDS: dict[Any, dict[str, Any]] = {
    tritonserver.Options: OPTIONS,
    tritonserver.RateLimiterResource: {"name": MISSING, "count": MISSING, "device": None},
    tritonserver.ModelLoadDeviceLimit: {"kind": MISSING, "device": MISSING, "fraction": MISSING},
    tritonserver.InferenceRequest: {
        "model": MISSING,
        "request_id": None,
        "flags": 0,
        "correlation_id": None,
        "priority": 0,
        "timeout": 0,
        "inputs": {},
        "parameters": {},
        "output_memory_type": None,
        "output_memory_allocator": None,
        "response_queue": None,
    },
    tritonserver.InferenceResponse: {
        "model": MISSING,
        "request_id": None,
        "parameters": {},
        "outputs": {},
        "error": None,
        "classification_label": None,
        "final": False,
    },
    tritonserver.Tensor: {"data_type": MISSING, "shape": MISSING, "memory_buffer": MISSING},
    tritonserver.MemoryBuffer: {
        "data_ptr": MISSING,
        "memory_type": MISSING,
        "memory_type_id": MISSING,
        "size": MISSING,
        "owner": MISSING,
    },
    tritonfrontend.KServeHttp.Options: {
        "address": "0.0.0.0",
        "port": 8000,
        "reuse_port": False,
        "thread_count": 8,
        "header_forward_pattern": "",
    },
    tritonfrontend.KServeGrpc.Options: {
        "address": "0.0.0.0",
        "port": 8001,
        "reuse_port": False,
        "use_ssl": False,
        "server_cert": "",
        "server_key": "",
        "root_cert": "",
        "use_mutual_auth": False,
        "keepalive_time_ms": 7_200_000,
        "keepalive_timeout_ms": 20_000,
        "keepalive_permit_without_calls": False,
        "http2_max_pings_without_data": 2,
        "http2_min_recv_ping_interval_without_data_ms": 300_000,
        "http2_max_ping_strikes": 2,
        "max_connection_age_ms": 0,
        "max_connection_age_grace_ms": 0,
        "infer_compression_level": 0,
        "infer_thread_count": 2,
        "infer_allocation_pool_size": 8,
        "max_response_pool_size": 2_147_483_647,
        "forward_header_pattern": "",
    },
    tritonfrontend.Metrics.Options: {"address": "0.0.0.0", "port": 8002, "thread_count": 1},
}
SIGNATURES = {
    "Server.start": "(self, wait_until_ready=False, polling_interval=0.1, timeout=None)",
    "Server.stop": "(self)",
    "Server.live": "(self)",
    "Server.ready": "(self)",
    "Server.metadata": "(self)",
    "Server.metrics": f"(self, metric_format={tritonserver.MetricFormat.PROMETHEUS!r})",
    "Server.model": "(self, model_name, model_version=-1)",
    "Server.models": "(self, exclude_not_ready=False)",
    "Server.load": "(self, model_name, parameters=None)",
    "Server.unload": (
        "(self, model, unload_dependents=False, wait_until_unloaded=False, polling_interval=0.5, timeout=None)"
    ),
    "Server.register_model_repository": "(self, repository_path, name_mapping=None)",
    "Server.unregister_model_repository": "(self, repository_path)",
    "Server.poll_model_repository": "(self)",
    "Server": "(options=None, **kwargs)",
    "Model.infer": "(self, inference_request=None, raise_on_error=True, **kwargs)",
    "Model.async_infer": "(self, inference_request=None, raise_on_error=True, **kwargs)",
    "Model.create_request": "(self, **kwargs)",
    "Model.config": "(self, config_version=1)",
    "Model.metadata": "(self)",
    "Model.statistics": "(self)",
    "Model.ready": "(self)",
    "Model.batch_properties": "(self)",
    "Model.transaction_properties": "(self)",
    "Tensor.from_dlpack": "(obj)",
    "Tensor.from_string_array": "(string_array)",
    "Tensor.from_bytes_array": "(bytes_array)",
    "Tensor.to_string_array": "(self)",
    "Tensor.to_bytes_array": "(self)",
    "Tensor.to_host": "(self)",
    "Tensor.to_device": "(self, device)",
    "MemoryBuffer.from_dlpack": "(owner)",
    "MetricFamily": "(kind, name, description)",
    "MetricFamily.create_metric": "(self, labels=None)",
    "Metric.increment": "(self, value)",
    "Metric.set_value": "(self, value)",
    "LogMessage": "(level, message, filename=None, line=None)",
    "ResponseIterator.cancel": "(self)",
    "AsyncResponseIterator.cancel": "(self)",
}
INTEGERS = [f"{kind}{bits}" for kind in ("UINT", "INT") for bits in (8, 16, 32, 64)]
MEMBERS = {
    "ModelControlMode": ["NONE", "POLL", "EXPLICIT"],
    "RateLimitMode": ["OFF", "EXEC_COUNT"],
    "LogFormat": ["DEFAULT", "ISO8601"],
    "LogLevel": ["INFO", "WARN", "ERROR", "VERBOSE"],
    "MetricFormat": ["PROMETHEUS"],
    "MetricKind": ["COUNTER", "GAUGE", "HISTOGRAM"],
    "InstanceGroupKind": ["AUTO", "CPU", "GPU", "MODEL"],
    "MemoryType": ["CPU", "CPU_PINNED", "GPU"],
    "DataType": ["INVALID", "BOOL", *INTEGERS, "FP16", "FP32", "FP64", "BYTES", "BF16"],
}
ERRORS = ["Unknown", "Internal", "NotFound", "InvalidArgument", "Unavailable", "Unsupported", "AlreadyExists"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: one.__qualname__)
def test_fields_and_defaults(record: Any) -> None:
    found = {
        one.name: one.default if one.default_factory is MISSING else one.default_factory() for one in fields(record)
    }
    assert list(found.items()) == list(RECORDS[record].items())


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    owner, _, attribute = name.partition(".")
    found = getattr(tritonserver, owner)
    signature = inspect.signature(getattr(found, attribute) if attribute else found)
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[name]


@pytest.mark.parametrize("name", MEMBERS)
def test_enumerations_have_the_numbers_of_the_c_api(name: str) -> None:
    members = getattr(tritonserver, name).__members__
    assert [(one, int(value)) for one, value in members.items()] == [(one, at) for at, one in enumerate(MEMBERS[name])]


def test_errors_are_the_trees_own() -> None:
    for name in ERRORS:
        assert issubclass(getattr(tritonserver, f"{name}Error"), tritonserver.TritonError)


def test_every_name_is_there() -> None:
    for module in (tritonserver, tritonfrontend):
        assert sorted(module.__all__) == module.__all__
        assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.slow
def test_importing_it_imports_no_library_of_frontends_or_backends() -> None:
    heavy = {"torch", "cupy", "jax", "grpc", "uvloop", "httptools", "onnxruntime"}
    code = f"import sys, atoll.tritonserver; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
