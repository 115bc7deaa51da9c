"""Instances keep to the cores of their host policy: their threads, those that they start, and their processes."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.models.tiny import write_model
from tests.unit.server.python_repository import Asked, ask, eventually, serving, write_python

import atoll
from atoll.config.model_config import ModelInstanceGroup
from atoll.devices.host_policy import HostPolicy, applied, from_document, node_cores
from atoll.errors import ConfigError, InvalidArgumentError
from atoll.models.host_policies import HostPolicies, joined

HERE = frozenset(os.sched_getaffinity(0))
CORE = max(HERE)
CPU, MODEL, GPU = (getattr(ModelInstanceGroup.Kind, f"KIND_{one}") for one in ("CPU", "MODEL", "GPU"))

TELLING = """
class TritonPythonModel:
    def initialize(self, args):
        self.seen = [os.sched_getaffinity(0)]
        thread = threading.Thread(target=lambda: self.seen.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
    def execute(self, requests):
        cores = set().union(os.sched_getaffinity(0), *self.seen)
        cores = np.array(sorted(cores), np.float32)
        if float(value(requests[0])[0]) < 0:
            os._exit(1)
        return [answer(cores) for request in requests]
"""


def told(server: atoll.Server, model: str) -> frozenset[int]:
    """The cores that the model's threads may run on."""
    response = server.infer(model, {"IN": np.ones(1, np.float32)})
    return frozenset(int(core) for core in response["OUT"])


def write(repository: Path, name: str, isolation: str = "thread", group: str = "", **parameters: object) -> None:
    write_python(repository, name, TELLING, parameters={"isolation": isolation, **parameters})
    file = repository / name / "config.pbtxt"
    file.write_text(re.sub(r"instance_group .*", f"instance_group [{{ {group} kind: KIND_CPU }}]", file.read_text()))


# ---- what is read


@pytest.mark.parametrize(
    ("options", "group", "name", "cores"),
    [
        ([f"mine,cpu-cores={CORE}-{CORE}"], {"host_policy": "mine"}, "mine", {CORE}),
        ([f"mine,cpu-cores={CORE}"], {"host_policy": "mine"}, "mine", {CORE}),
        ([f"cpu,cpu-cores={CORE}", f"cpu,cpu-cores={min(HERE)}"], {}, "cpu", {CORE}),
        ([f"model,cpu-cores={CORE}"], {"kind": MODEL}, "model", {CORE}),
        ([f"gpu_3,cpu-cores={CORE}"], {"kind": GPU}, "gpu_3", {CORE}),
        ([f"mine,cpu-cores={','.join(map(str, sorted(HERE)))}"], {"host_policy": "mine"}, "mine", HERE),
        ([f"mine,cpu-cores={CORE}", "mine,numa-node=0"], {"host_policy": "mine"}, "mine", {CORE}),
    ],
)
def test_policies_are_read_and_have_their_groups(
    options: list[str], group: Mapping[str, Any], name: str, cores: set[int]
) -> None:
    policy = HostPolicies(options).of(ModelInstanceGroup(**{"kind": CPU, **group}), 3)
    assert policy is not None
    assert (policy.name, policy.cores) == (name, cores)
    assert policy.numa_node == (0 if "numa-node" in str(options) else None)


def test_who_has_none_keeps_to_nothing() -> None:
    policies = HostPolicies([f"mine,cpu-cores={CORE}", f"gpu_1,cpu-cores={CORE}"])
    assert policies.of(ModelInstanceGroup(kind=CPU), 0) is None
    assert policies.of(ModelInstanceGroup(kind=GPU), 0) is None
    assert policies.of(ModelInstanceGroup(kind=CPU, host_policy="another"), 0) is None


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("mine", "--host-policy option format is '<policy name>,<setting>=<value>'. Got mine"),
        (",numa-node=1", "--host-policy option format is"),
        ("mine,cpu-cores=", "--host-policy option format is"),
        ("mine,cpu-cores", "--host-policy option format is"),
        (
            "mine,foo=1",
            "Unsupported host policy setting 'foo' is specified, supported settings are 'numa-node', 'cpu-cores'",
        ),
        ("mine,cpu-cores=x", "Parsing 'cpu-cores' value: Can't parse 'x' to integer"),
        ("mine,cpu-cores=-1", "Parsing 'cpu-cores' value: Can't parse '' to integer"),
        ("mine,cpu-cores=1-", "Parsing 'cpu-cores' value: Can't parse '' to integer"),
        ("mine,numa-node=x", "Parsing 'numa-node' value: Can't parse 'x' to integer"),
        ("mine,cpu-cores=1-0", "host policy setting 'cpu-cores' format is '<lower_cpu_core_id>-<upper_cpu_core_id>'"),
        ("mine,cpu-cores=0-999999999", "host policy setting 'cpu-cores' format is"),
    ],
)
def test_a_malformed_policy_is_refused(option: str, text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        HostPolicies([option])
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (
            "mine,cpu-cores=60000-60001",
            "Unable to set NUMA thread affinity: host policy 'mine' names the cores 60000-6",
        ),
        (
            "mine,numa-node=999",
            "Unable to set NUMA memory policy: host policy 'mine' has numa-node=999, which this mac",
        ),
    ],
)
def test_cores_that_do_not_exist_are_told_by_the_model_that_would_use_them(
    tmp_path: Path, option: str, text: str
) -> None:
    write(tmp_path, "m", group='host_policy: "mine"')
    with pytest.raises(ConfigError) as caught:
        serving(tmp_path, host_policy=[option]).start()
    assert re.search(
        rf"/m/config\.pbtxt:\d+:\d+: instance_group\[0\]\.host_policy: {re.escape(text)}", str(caught.value)
    )


def test_cores_that_do_not_exist_beside_some_that_do_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """As the real server does, silently."""
    policies = HostPolicies([f"cpu,cpu-cores={CORE}-{CORE + 5000}"])
    for _ in range(2):
        policy = policies.of(ModelInstanceGroup(kind=CPU), 0)
        assert policy is not None
        assert CORE in policy.cores
    assert caplog.text.count("names cores that this process may not use") == 1
    assert frozenset(os.sched_getaffinity(0)) == HERE


def test_a_policy_survives_the_way_to_a_process() -> None:
    policy = HostPolicy("mine", frozenset({1, 5}), 2)
    assert from_document(policy.document()) == policy


def test_a_nodes_cores_are_read(tmp_path: Path) -> None:
    (tmp_path / "node1").mkdir()
    (tmp_path / "node1" / "cpulist").write_text("0-2,5,8-9\n")
    assert node_cores(1, str(tmp_path)) == {0, 1, 2, 5, 8, 9}
    with pytest.raises(OSError, match="node2"):
        node_cores(2, str(tmp_path))


def test_a_model_as_a_whole_keeps_to_what_all_its_instances_share() -> None:
    one, other = HostPolicy("a", frozenset({1}), 0), HostPolicy("b", frozenset({2}), 0)
    assert joined([one, other]) == HostPolicy("a", frozenset({1, 2}), 0)
    assert joined([one, HostPolicy("b", frozenset({2}))]) == HostPolicy("a", frozenset({1, 2}))
    assert joined([one, None]) is None
    assert joined([]) is None


def test_a_thread_is_as_it_was_afterwards() -> None:
    with applied(HostPolicy("x", frozenset({CORE}), 0)):
        assert os.sched_getaffinity(0) == {CORE}
    assert frozenset(os.sched_getaffinity(0)) == HERE


# ---- what keeps to them


@pytest.mark.skipif(len(HERE) < 2, reason="a process that has one core cannot tell")
@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_python_models_keep_to_their_policies(tmp_path: Path, isolation: str) -> None:
    write(tmp_path, "named", isolation, 'host_policy: "mine"')
    write(tmp_path, "usual", isolation)
    other = min(HERE)
    options = [f"mine,cpu-cores={CORE}-{CORE}", f"cpu,cpu-cores={other}-{other}"]
    with serving(tmp_path, host_policy=options) as server:
        assert told(server, "named") == {CORE}
        assert told(server, "usual") == {other}
    assert frozenset(os.sched_getaffinity(0)) == HERE


@pytest.mark.skipif(len(HERE) < 2, reason="a process that has one core cannot tell")
@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_a_process_that_is_started_anew_keeps_to_it(tmp_path: Path, start_method: str) -> None:
    write(tmp_path, "m", "process", start_method=start_method)
    with serving(tmp_path, host_policy=[f"cpu,cpu-cores={CORE}-{CORE}"]) as server:
        assert told(server, "m") == {CORE}
        assert Asked(server, "m", [-1]).error
        eventually(lambda: server._fleet.find("m", "").available, "it is back")
        assert told(server, "m") == {CORE}


@pytest.mark.skipif(len(HERE) < 2, reason="a process that has one core cannot tell")
@pytest.mark.parametrize("core", [min(HERE), max(HERE)])
@pytest.mark.parametrize("threads", ["", "2"])
def test_the_threads_of_a_runtime_keep_to_it(tmp_path: Path, core: int, threads: str) -> None:
    """Those of ONNX Runtime, which would choose cores by itself, and those that drive the instances."""
    said = f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{threads}" }} }}' if threads else ""
    write_model(tmp_path, "scale", 2.0, config=f'backend: "onnxruntime" {said}')
    others = tasks()
    with atoll.Server(tmp_path, host_policy=[f"cpu,cpu-cores={core}-{core}"]) as server:
        server.infer("scale", {"IN": np.ones((1, 2), np.float32)})
        bound = {task: frozenset(os.sched_getaffinity(task)) for task in tasks() - others}
        assert list(bound.values()).count(frozenset({core})) >= 2, bound  # a thread for each of its two instances
        assert set(bound.values()) <= {HERE, frozenset({core})}, bound
    assert frozenset(os.sched_getaffinity(0)) == HERE


def tasks() -> set[int]:
    return {int(one) for one in os.listdir("/proc/self/task")}


@pytest.mark.skipif(len(HERE) < 2, reason="a process that has one core cannot tell")
def test_a_function_is_called_on_its_cores_whoever_submits() -> None:
    server = atoll.Server(host_policy=[f"cpu,cpu-cores={CORE}-{CORE}"])
    seen: set[frozenset[int]] = set()

    def look(x: Any) -> Any:
        seen.add(frozenset(os.sched_getaffinity(0)))
        return x

    server.add_model("look", look, inputs={"x": ("FP32", [1])}, outputs={"y": ("FP32", [1])})
    with server:
        for _ in range(50):
            server.infer("look", {"x": [1.0]})
    assert seen == {frozenset({CORE})}


def test_without_policies_nothing_is_bound(tmp_path: Path) -> None:
    write(tmp_path, "m", "process")
    with serving(tmp_path) as server:
        assert told(server, "m") == HERE
        assert ask(server, "m", [1]) == min(HERE)
