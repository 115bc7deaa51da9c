"""What the log says when a server starts: backends, models and settings, in the real server's tables."""

from pathlib import Path

from tests.conformance.logs.line_scenarios import write_model
from tests.conformance.process import start_atoll

REAL_OPTIONS = [
    *("server_id", "server_version", "server_extensions", "model_repository_path[0]", "model_control_mode"),
    *("strict_model_config", "model_config_name", "rate_limit", "pinned_memory_pool_byte_size"),
    *("min_supported_compute_capability", "strict_readiness", "exit_timeout", "cache_enabled"),
]
"""The rows of tritonserver 2.51, in its order."""


def tables(text: str) -> dict[str, list[list[str]]]:
    """By the first heading, the rows' cells."""
    found: dict[str, list[list[str]]] = {}
    rows: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if not rows:
                rows = found.setdefault(cells[0], [])
            rows.append(cells)
        elif not line.startswith("+"):
            rows = []
    return found


def test_backends_models_and_settings_stand_in_tables(tmp_path: Path) -> None:
    models = write_model(tmp_path / "models")
    secret = "--http-restricted-api=model-repository:key=hunter2"
    with start_atoll(
        models,
        tmp_path / "log",
        "--id=here",
        "--backend-config=python,shm-default-byte-size=1048576",
        "--exit-timeout-secs=7",
        "--cache-config=local,size=1048576",
        secret,
    ) as server:
        text = server.log_text()
    found = tables(text)
    backends = {row[0]: row[1:] for row in found["Backend"][1:]}
    assert backends["python"][1] == "shm-default-byte-size=1048576"
    assert backends["onnxruntime"][0].startswith("atoll ")
    assert found["Model"] == [["Model", "Version", "Status"], ["speaker", "1", "READY"]]
    options = {row[0]: row[1] for row in found["Option"][1:]}
    assert list(options) == REAL_OPTIONS
    assert (options["server_id"], options["exit_timeout"], options["cache_enabled"]) == ("here", "7", "1")
    assert options["model_repository_path[0]"] == str(models)
    assert "hunter2" not in text
