"""What stands on the page of the server, its models' states and the machine."""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.devices.gpu_readings import GPU
from tests.unit.observability.metrics.reading import samples

from atoll.devices.cpu_meter import CpuReading
from atoll.devices.process_meter import ProcessReading
from atoll.observability.metrics import machine_families, server_families


@dataclass
class State:
    name: str
    version: str
    state: str


@dataclass
class Events:
    name: str
    loads: int = 0
    load_failures: int = 0
    unloads: int = 0


@dataclass
class Numbers:
    """Of the cache and the pool."""

    hits: int = 3
    misses: int = 2
    lookup_ns: int = 5_999
    insertion_ns: int = 7_000
    utilization: float = 0.25
    entries: int = 2
    evictions: int = 1
    total_bytes: int = 1000
    used_bytes: int = 64


def test_a_version_is_in_one_state_of_four() -> None:
    found = samples("".join(server_families.state_family([State("a", "1", "READY"), State("a", "2", "LOADING")])))
    shown = {(dict(key)["version"], dict(key)["state"]): value for (_, key), value in found.items()}
    assert shown == {
        **{("1", state): state == "READY" for state in server_families.STATES},
        **{("2", state): state == "LOADING" for state in server_families.STATES},
    }


def test_models_of_one_name_in_two_namespaces_have_one_series() -> None:
    found = samples("".join(server_families.state_family([State("a", "1", "READY"), State("a", "1", "UNAVAILABLE")])))
    assert sum(found.values()) == 2
    assert len(found) == 4


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(), st.sampled_from(["", "1", "2"])), unique=True, max_size=5))
def test_no_name_breaks_the_families_of_states_and_events(models: list[tuple[str, str]]) -> None:
    names = {name.encode("utf-8", "replace").decode() for name, _ in models}
    text = "".join(server_families.state_family([State(name, version, "READY") for name, version in models]))
    assert {dict(key)["model"] for _, key in samples(text)} == names
    text = "".join(server_families.event_families([Events(name) for name in {name for name, _ in models}]))
    assert {dict(key)["model"] for _, key in samples(text)} == names


def test_loads_failures_and_unloads_are_counted_by_model() -> None:
    found = samples("".join(server_families.event_families([Events("a", 3, 2, 1)])))
    assert found == {
        ("atoll_model_load_success_count", (("model", "a"),)): 3,
        ("atoll_model_load_failure_count", (("model", "a"),)): 2,
        ("atoll_model_unload_count", (("model", "a"),)): 1,
    }


def test_memory_is_shown_where_it_is_known() -> None:
    assert server_families.memory_family({}) == ""
    found = samples(server_families.memory_family({("a", "1"): 5}))
    assert found == {("atoll_model_memory_bytes", (("model", "a"), ("version", "1"))): 5}


def test_which_server_it_is_and_whether_it_is_ready() -> None:
    found = samples("".join(server_families.server_families("1.2", ready=False)))
    assert found == {("atoll_server_info", (("version", "1.2"),)): 1, ("atoll_server_ready", ()): 0}


def test_the_cache_and_the_pool() -> None:
    found = samples("".join([*server_families.cache_families(Numbers()), *server_families.pool_families(Numbers())]))
    assert {name: value for (name, _), value in found.items()} == {
        "nv_cache_util": 0.25,
        "nv_cache_num_entries": 2,
        "nv_cache_num_hits": 3,
        "nv_cache_num_misses": 2,
        "nv_cache_num_lookups": 5,
        "nv_cache_num_evictions": 1,
        "nv_cache_lookup_duration": 5,
        "nv_cache_insertion_duration": 7,
        "nv_pinned_memory_pool_total_bytes": 1000,
        "nv_pinned_memory_pool_used_bytes": 64,
    }


def test_the_machine_and_the_process() -> None:
    cpu = machine_families.cpu_families(CpuReading(0.25, 1000, 300))
    process = machine_families.process_families(ProcessReading(1.5, 4096, 1_700_000_000.25, 9))
    assert {name: value for (name, _), value in samples("".join([*cpu, *process])).items()} == {
        "nv_cpu_utilization": 0.25,
        "nv_cpu_memory_total_bytes": 1000,
        "nv_cpu_memory_used_bytes": 300,
        "process_cpu_seconds_total": 1.5,
        "process_resident_memory_bytes": 4096,
        "process_start_time_seconds": 1_700_000_000.25,
        "process_open_fds": 9,
    }


def test_each_gpu_has_its_series_and_what_it_does_not_tell_is_left_out() -> None:
    older = replace(GPU, uuid="GPU-2", power_watts=None, power_limit_watts=None, energy_joules=None)
    found = samples("".join(machine_families.gpu_families([GPU, older, GPU])))
    assert {name: value for (name, key), value in found.items() if key == (("gpu_uuid", "GPU-1"),)} == {
        "nv_gpu_utilization": 0.5,
        "nv_gpu_memory_total_bytes": 1000,
        "nv_gpu_memory_used_bytes": 100,
        "nv_gpu_power_usage": 65.5,
        "nv_gpu_power_limit": 300,
        "nv_energy_consumption": 1000,
    }
    assert {name for (name, key) in found if key == (("gpu_uuid", "GPU-2"),)} == {
        "nv_gpu_utilization",
        "nv_gpu_memory_total_bytes",
        "nv_gpu_memory_used_bytes",
    }
    assert "".join(machine_families.gpu_families([])) == ""
