"""Where the real server has a span, Atoll has the same: its name, what it is within, its attributes and its events."""

from pathlib import Path

import pytest
from tests.conformance.asking_again import ask_again
from tests.conformance.process import start_atoll
from tests.conformance.recording import read_record
from tests.conformance.tracing import scenarios
from tests.telemetry.comparing import ask, options
from tests.telemetry.receiver import running
from tests.telemetry.record_spans import record


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


@pytest.mark.oracle
def test_the_record_is_what_the_real_server_exports(tmp_path: Path) -> None:
    assert ask_again(record, tmp_path) == read_record("spans")
