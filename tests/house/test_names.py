"""docs/reference/names.md lists every name that a user can write, and none that does not exist."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tests.house import names_in_code as code

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "names.md"


RULES: dict[str, Callable[[], set[str]]] = {
    "Options that tritonserver does not have": lambda: code.options(ours=True),
    "Options that tritonserver has": lambda: code.options(ours=False),
    "Options of the other commands": code.command_options,
    "Exit statuses": code.exit_statuses,
    "Units of the memory budget": code.units,
    "Files in a model's folder": code.model_files,
    "Platforms": code.platforms,
    "Keys that backends read": code.backend_keys,
    "Parameters of a model": code.parameters_of_models,
    "Settings of the response cache": code.cache_settings,
    "Keys of padding": code.padding_keys,
    "Keys of the checksum agent": code.checksum_keys,
    "The server's configuration file": code.server_file,
    "The file of API keys": code.key_file,
    "Scopes of API keys": code.scopes,
    "Locations of repositories": code.locations,
    "The credential file of object stores": code.credential_keys,
    "Environment variables": code.environment_variables,
    "Parameters of requests": code.request_parameters,
    "Headers": code.headers,
    "Metrics of our own": code.metrics,
    "What `atoll validate --json` prints": code.validate_keys,
    "What `atoll inspect --json` prints": code.inspect_keys,
    "Entry points": code.entry_points,
    "Extras": code.extras,
}


def sections(page: str) -> dict[str, list[str]]:
    """The names in the first column of each section's table, in their order."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in page.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
            found[heading] = []
        elif line.startswith("| `"):
            found[heading] += re.findall(r"`([^`]+)`", line.split(" | ")[0])
    return found


@cache
def in_code(heading: str) -> set[str]:
    return RULES[heading]()


def differences(page: str) -> list[str]:
    """What the page lacks, has too much of, or says twice."""
    written = sections(page)
    wrong = [f"section without a rule: {one}" for one in written.keys() - RULES.keys()]
    for heading in RULES:
        names, true = written.get(heading, []), in_code(heading)
        assert true, f"the rule for '{heading}' finds nothing: correct it"
        wrong += [f"{heading}: {one} is missing" for one in sorted(true - set(names))]
        wrong += [f"{heading}: {one} does not exist" for one in sorted(set(names) - true)]
        wrong += [f"{heading}: {one} is there twice" for one in sorted({one for one in names if names.count(one) > 1})]
    return wrong


def test_the_page_is_complete_and_true() -> None:
    assert not differences(PAGE.read_text())


@pytest.mark.parametrize("heading", RULES)
def test_an_omission_would_be_seen(heading: str) -> None:
    page = PAGE.read_text()
    name = sections(page)[heading][0]
    start = page.index(f"## {heading}\n")
    planted = page[:start] + page[start:].replace(f"| `{name}`", "| `planted`", 1)
    assert differences(planted) == [f"{heading}: {name} is missing", f"{heading}: planted does not exist"]


def test_a_section_nobody_checks_would_be_seen() -> None:
    page = PAGE.read_text() + "\n## More\n\n| Name |\n| --- |\n| `x` |\n"
    assert differences(page) == ["section without a rule: More"]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE.read_text()):
        assert (PAGE.parent / target).exists(), target


PLANTED = """
import os
NAME = "PLANTED_BY_NAME"
for one in ("PLANTED_IN_LOOP", "PLANTED_TOO"):
    os.environ.get(one)
TABLE = {1: "PLANTED_IN_TABLE"}
os.environ[NAME]
environment.get(TABLE[1], "")
"PLANTED_ASKED" in environment
elsewhere["NO_VARIABLE"]
"""


def test_variables_are_found_however_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.setattr(code, "SOURCE", tmp_path)
    expected = {"PLANTED_BY_NAME", "PLANTED_IN_LOOP", "PLANTED_TOO", "PLANTED_IN_TABLE", "PLANTED_ASKED"}
    assert code.environment_variables() == expected
    (tmp_path / "planted.py").write_text("os.environ[f'A_{b}']")
    with pytest.raises(AssertionError, match="which environment variable is this"):
        code.environment_variables()


def test_variables_of_a_models_process_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "isolation").mkdir()
    (tmp_path / "isolation" / "environment.py").write_text("variables['PLANTED_FOR_CHILD'] = '1'")
    (tmp_path / "elsewhere.py").write_text("variables['NO_VARIABLE'] = '1'")
    monkeypatch.setattr(code, "SOURCE", tmp_path)
    assert code.environment_variables() == {"PLANTED_FOR_CHILD"}


PLANTED_PARAMETERS = """
said.seconds("planted-setting", 0.0, parameter="planted_beside")
said.parameter("planted_alone")
said.wrong("no_key", "text", "expected")
for key in ("planted_in_loop",):
    config.parameter(key)
self.parameter(key)
"""


def test_parameters_are_found_however_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("backends/python/environments", "isolation", "models"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "__init__.py").write_text("")
    (tmp_path / "isolation" / "settings.py").write_text(PLANTED_PARAMETERS)
    (tmp_path / "backends" / "python" / "environments" / "choose.py").write_text("asked.parameters['planted_asked']")
    monkeypatch.setattr(code, "SOURCE", tmp_path)
    found = code.model_parameters()
    assert found == {"planted_beside", "planted_alone", "planted_in_loop", "planted_asked"}
    (tmp_path / "models" / "one.py").write_text("source.config.parameter(name)")
    with pytest.raises(AssertionError, match="which parameter is this"):
        code.model_parameters()
