"""Where the real server has a span, Atoll has the same: its name, what it is within, its attributes and its events."""

from pathlib import Path

from tests.conformance.process import start_atoll
from tests.conformance.recording import read_record
from tests.conformance.tracing import scenarios
from tests.telemetry.comparing import ask, options
from tests.telemetry.receiver import running


def test_atoll_exports_what_the_real_server_was_seen_to_export(tmp_path: Path) -> None:
    models = scenarios.write_models(tmp_path / "models")
    with (
        running() as receiver,
        start_atoll(models, tmp_path / "log", scenarios.CACHE, *options(receiver)) as server,
    ):
        found = ask(server, receiver)
    recorded = read_record("spans")
    assert found["settings"] == recorded["settings"]
    assert found["resource"] == recorded["resource"]
    assert found["spans"] == recorded["spans"]
