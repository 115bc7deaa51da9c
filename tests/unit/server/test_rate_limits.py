"""The rate limiter of a server: models that share resources, what cannot be served and why, and changes."""

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.server.python_repository import Asked, eventually, serving, write_python

from atoll.errors import AtollError, CancelledError, ConfigError

ON = "execution_count"
NOTING = """
def each(request):
    note(NOTES, "b")
    time.sleep(0.002)
    note(NOTES, "e")
    return answer(value(request))
"""
HOLDING = """
def each(request):
    note(NOTES, "b")
    while not os.path.exists(NOTES + ".go"):
        time.sleep(0.001)
    return answer(value(request))
"""
DYING = """
def each(request):
    os._exit(3)
"""


def limited(
    repository: Path,
    name: str,
    code: str,
    *resources: str,
    isolation: str = "thread",
    count: int = 1,
    priority: int = 0,
) -> Path:
    """A model whose instances need these resources, such as 'name: "R" count: 1'."""
    notes = write_python(repository, name, code, parameters={"isolation": isolation})
    needs = " ".join(f"resources {{ {one} }}" for one in resources)
    group = f"instance_group [{{ count: {count} kind: KIND_CPU rate_limiter {{ {needs} }} }}]"
    file = repository / name / "config.pbtxt"
    file.write_text(re.sub(r"instance_group .*", group, file.read_text()))
    return notes


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_two_models_that_share_a_resource_never_overlap(tmp_path: Path, isolation: str) -> None:
    noted = tmp_path / "notes"
    for name in "ab":
        limited(tmp_path / "models", name, NOTING.replace("NOTES", repr(str(noted))), 'name: "R" count: 1',
                isolation=isolation, count=2)  # fmt: skip
    with serving(tmp_path / "models", rate_limit=ON) as server:
        asked = [Asked(server, "ab"[number % 2], [number]) for number in range(20)]
        assert [one.error for one in asked] == [""] * 20
    assert noted.read_text() == "be" * 20


def test_off_is_the_default_and_needs_are_passed_over(tmp_path: Path) -> None:
    limited(tmp_path, "a", HOLDING, 'name: "R" count: 4')
    (tmp_path / "a" / "notes.go").touch()
    with serving(tmp_path, rate_limit_resource=["R:2"]) as server:
        assert Asked(server, "a", [1]).error == ""


SHORT = (
    'Resource count for "R" is limited to {} which will prevent scheduling of one or more model instances, the minimum '
    "required count is 4"
)


@pytest.mark.parametrize(("supply", "limit"), [("R:2", 2), ("R:2:0", 2), ("R:2:1", 0), ("r:9", 0)])
def test_more_than_there_is_is_refused_at_load(tmp_path: Path, supply: str, limit: int) -> None:
    limited(tmp_path, "a", NOTING, 'name: "R" count: 4', count=2)
    with pytest.raises(ConfigError) as caught:
        serving(tmp_path, rate_limit=ON, rate_limit_resource=[supply]).start()
    place = rf"/a/config\.pbtxt:\d+:\d+: instance_group\[0\]\.rate_limiter: {re.escape(SHORT.format(limit))}"
    assert re.search(place, str(caught.value))


def test_what_cannot_be_read_is_refused_when_the_server_is_made(tmp_path: Path) -> None:
    for wrong in ({"rate_limit_resource": ["R"]}, {"rate_limit": "on"}, {"host_policy": ["x"]}):
        with pytest.raises(AtollError, match=r"format is|must be one of"):
            serving(tmp_path, **wrong)  # type: ignore[arg-type]


def test_a_resource_that_is_global_for_one_and_of_devices_for_another(tmp_path: Path) -> None:
    limited(tmp_path, "a", NOTING, 'name: "R" count: 1')
    limited(tmp_path, "b", NOTING, 'name: "R" count: 1 global: true')
    with serving(tmp_path, rate_limit=ON, exit_on_error=False, model_load_thread_count=1) as server:
        ready = [name for name in "ab" if any(one.name == name for one in server.statistics())]
        assert len(ready) == 1
        [error] = server._fleet.failures().values()
        assert 'Resource "R" is present as both global and device-specific resource in the model config' in str(error)


def test_cancelled_in_line_it_is_answered_at_once(tmp_path: Path) -> None:
    notes = limited(tmp_path, "a", HOLDING, 'name: "R" count: 1')
    limited(tmp_path, "b", NOTING, 'name: "R" count: 1')
    with serving(tmp_path, rate_limit=ON) as server:
        first = Asked(server, "a", [1])
        eventually(notes.exists, "it executes")
        waiting = Asked(server, "b", [2])
        waiting.request.cancel()
        [response] = waiting.wait().responses
        assert isinstance(response.error, CancelledError)
        assert not first.finals
        (tmp_path / "a" / "notes.go").touch()
        assert first.error == ""


def test_a_process_that_ends_gives_back(tmp_path: Path) -> None:
    limited(tmp_path, "a", DYING, 'name: "R" count: 1', isolation="process")
    limited(tmp_path, "b", NOTING, 'name: "R" count: 1')
    with serving(tmp_path, rate_limit=ON) as server:
        assert "exit" in Asked(server, "a", [1]).error
        assert Asked(server, "b", [1]).error == ""


def test_models_that_come_and_go_change_how_much_there_is(tmp_path: Path) -> None:
    limited(tmp_path, "small", NOTING, 'name: "R" count: 1')
    limited(tmp_path, "large", HOLDING, 'name: "R" count: 2')
    overlapping = tmp_path / "small" / "notes"
    with serving(tmp_path, rate_limit=ON, model_control_mode="explicit", load_model=["small"]) as server:
        assert Asked(server, "small", [1]).error == ""
        server.load_model("large")
        large = Asked(server, "large", [1])
        eventually((tmp_path / "large" / "notes").exists, "it executes")
        small = Asked(server, "small", [1])
        before = overlapping.read_text()
        server.unload_model("large")  # it finishes what it has
        threading.Event().wait(0.02)
        assert overlapping.read_text() == before
        (tmp_path / "large" / "notes.go").touch()
        assert large.error == small.error == ""
        eventually(lambda: resources(server)._limits == {("R", 0): 1}, "its need is gone")
        server.load_model("large")
        assert resources(server)._limits == {("R", 0): 2}


def test_groups_that_change_are_limited_as_they_say(tmp_path: Path) -> None:
    write_python(tmp_path, "m", NOTING, parameters={"isolation": "thread"})
    with serving(tmp_path, rate_limit=ON, model_control_mode="explicit", load_model=["m"]) as server:
        limited(tmp_path, "m", NOTING, 'name: "R" count: 3', count=2)
        server.load_model("m")
        assert resources(server)._limits == {("R", 0): 3}
        notes = tmp_path / "m" / "notes"
        asked = [Asked(server, "m", [number]) for number in range(8)]
        assert [one.error for one in asked] == [""] * 8
        assert notes.read_text() == "be" * 8
        write_python(tmp_path, "m", NOTING, parameters={"isolation": "thread"})
        server.load_model("m")
        eventually(lambda: resources(server)._limits == {}, "nobody needs anything")
        assert Asked(server, "m", [1]).error == ""


def resources(server: Any) -> Any:
    return server._fleet._loader._limiter._resources


def test_a_group_that_asks_for_too_much_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    limited(tmp_path, "m", NOTING, 'name: "R" count: 1')
    options = {"rate_limit": ON, "rate_limit_resource": ["R:2"], "load_model": ["m"]}
    with serving(tmp_path, model_control_mode="explicit", **options) as server:
        limited(tmp_path, "m", NOTING, 'name: "R" count: 4')
        with pytest.raises(AtollError, match=re.escape(SHORT.format(2))):
            server.load_model("m")
        assert Asked(server, "m", [1]).error == ""
        assert resources(server)._limits == {("R", 0): 2}


@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("strategy", ["direct { }", "oldest { max_candidate_sequences: 3 }"])
def test_sequences_share_a_resource_too(tmp_path: Path, isolation: str, strategy: str) -> None:
    """Each is bound to an instance, and the instances take turns."""
    notes = limited(tmp_path, "m", NOTING, 'name: "R" count: 1', isolation=isolation, count=2)
    file = tmp_path / "m" / "config.pbtxt"
    file.write_text(
        file.read_text().replace("max_batch_size: 0", "max_batch_size: 1") + f"sequence_batching {{ {strategy} }}"
    )
    with serving(tmp_path, rate_limit=ON) as server:
        asked = [
            server.async_infer("m", {"IN": np.full((1, 1), step, np.float32)}, parameters=part)
            for step in range(4)
            for part in [
                {"sequence_id": number, "sequence_start": step == 0, "sequence_end": step == 3} for number in (1, 2, 3)
            ]
        ]

        async def all_of_them() -> list[Any]:
            return [(await one)["OUT"].tolist() for one in [asyncio.ensure_future(one) for one in asked]]

        assert asyncio.run(all_of_them()) == [[[step]] for step in range(4) for _ in range(3)]
        eventually(lambda: not resources(server)._held, "nothing is kept")
    assert notes.read_text() == "be" * 12
