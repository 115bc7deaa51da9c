"""What the server tells of its models without a look into the repositories: states, loads and unloads, errors."""

from pathlib import Path

import numpy as np
import pytest
from tests.unit.models.tiny import write_model

import atoll
from atoll.errors import AtollError, InvalidArgumentError

ONES = np.ones((1, 2), np.float32)


def explicit(repository: Path) -> atoll.Server:
    return atoll.Server(repository, model_control_mode="explicit", exit_on_error=False)


def states(server: atoll.Server) -> dict[tuple[str, str], str]:
    return {(one.name, one.version): one.state for one in server.model_states()}


def events(server: atoll.Server) -> dict[str, tuple[int, int, int]]:
    return {one.name: (one.loads, one.load_failures, one.unloads) for one in server.model_events()}


def test_loads_failures_and_unloads_are_counted(tmp_path: Path) -> None:
    write_model(tmp_path, "good", 2)
    write_model(tmp_path, "broken", 2)
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    with explicit(tmp_path) as server:
        assert states(server) == {}
        assert events(server) == {}
        server.load_model("good")
        server.load_model("good")  # nothing has changed: no load
        with pytest.raises(AtollError):
            server.load_model("broken")
        assert states(server)["good", "1"] == "READY"
        assert {state for (name, _), state in states(server).items() if name == "broken"} == {"UNAVAILABLE"}
        assert events(server) == {"good": (1, 0, 0), "broken": (0, 1, 0)}
        server.unload_model("good")
        server.drain(5)
        assert states(server)["good", "1"] == "UNAVAILABLE"
        assert events(server)["good"] == (1, 0, 1)


def test_a_model_that_nobody_tried_to_load_has_no_state(tmp_path: Path) -> None:
    write_model(tmp_path, "one", 2)
    write_model(tmp_path, "other", 2)
    with explicit(tmp_path) as server:
        server.load_model("one")
        assert states(server) == {("one", "1"): "READY"}
        assert [entry.name for entry in server.repository_index()] == ["one", "other"]


def test_what_does_not_fit_is_a_refusal_and_no_failure(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 2)
    with atoll.Server(tmp_path) as server:
        with pytest.raises(InvalidArgumentError):
            server.infer("m", {"IN": np.ones((1, 3), np.float32)}, request_id="mine")
        (counted,) = server.statistics("m")
        assert counted.refusals == {"INVALID_ARG": 1}
        assert counted.fail.count == 0
        (error,) = server.recent_errors()
        assert (error.model, error.version, error.request_id, error.reason) == ("m", "1", "mine", "INVALID_ARG")
        assert "IN" in error.text
        server.infer("m", {"IN": ONES})
        assert server.statistics("m")[0].success.count == 1
        assert len(server.recent_errors()) == 1


def test_what_a_function_raises_is_a_recent_error(tmp_path: Path) -> None:
    def fails(IN: object) -> object:  # noqa: N803
        raise RuntimeError("out of ink")

    with atoll.Server() as server:
        server.add_model("f", fails, inputs={"IN": ("FP32", [2])}, outputs={"OUT": ("FP32", [2])})
        with pytest.raises(AtollError):
            server.infer("f", {"IN": np.ones(2, np.float32)})
        (error,) = server.recent_errors()
        assert (error.model, error.reason) == ("f", "BACKEND")
        assert "out of ink" in error.text
        assert server.statistics("f")[0].failures["BACKEND"] == 1


def test_memory_is_told_where_it_was_measured(tmp_path: Path) -> None:
    write_model(tmp_path, "m", 2, weight_bytes=8 << 20)
    with atoll.Server(tmp_path) as server:
        assert server.model_memory() == {}
    with atoll.Server(tmp_path, model_memory_budget="1GiB") as server:
        server.infer("m", {"IN": ONES})
        assert server.model_memory()["m", "1"] > 4 << 20


def test_wrong_metrics_settings_are_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="summary_latencys"):
        atoll.Server(tmp_path, metrics_config=["summary_latencys=true"])
