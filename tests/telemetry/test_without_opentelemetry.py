"""OpenTelemetry's libraries are for who exports: nobody else needs or imports them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.fresh_python import run_code

from atoll.cli.main import main

_SERVE = """
import sys
import numpy as np
import atoll

sys.modules.update({missing!r})
try:
    server = atoll.Server(trace_config={config!r})
except atoll.AtollError as error:
    print(error)
    sys.exit()
with server:
    server.add_model("same", lambda IN: IN, inputs={{"IN": ("FP32", [1])}}, outputs={{"OUT": ("FP32", [1])}})
    server.infer("same", {{"IN": np.ones(1, np.float32)}})
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "requests")))
"""


def serve(config: Sequence[str], missing: Sequence[str] = ()) -> str:
    return run_code(_SERVE.format(config=config, missing=dict.fromkeys(missing))).stdout.strip()


def test_nothing_of_it_is_imported_unless_traces_are_exported(tmp_path: Path) -> None:
    assert serve(()) == "[]"
    assert serve(["level=TIMESTAMPS", "rate=1", f"triton,file={tmp_path / 'trace.json'}"]) == "[]"
    assert "opentelemetry.sdk.trace" in serve(["mode=opentelemetry"])


@pytest.mark.parametrize("missing", ["opentelemetry", "requests"])
def test_where_it_is_not_installed_the_extra_is_named(missing: str) -> None:
    assert "pip install 'atoll[opentelemetry]'" in serve(["mode=opentelemetry"], [missing])


def test_the_command_line_says_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.resources", None)
    monkeypatch.delitem(__import__("sys").modules, "atoll.observability.tracing.span_exports", raising=False)
    assert main(["serve", "--model-repository=.", "--trace-config=mode=opentelemetry"]) != 0
    said = capsys.readouterr().err
    assert "pip install 'atoll[opentelemetry]'" in said
    assert "Traceback" not in said
