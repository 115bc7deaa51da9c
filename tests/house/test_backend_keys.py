"""Each backend's page has a table of the keys that the backend reads, under the head "Key", and of no others."""

import ast
import re
from pathlib import Path

import pytest
from tests.house.names_in_code import SOURCE, texts_of_calls, trees

DOCS = SOURCE.parents[1] / "docs"
BACKENDS = sorted(
    folder.name for folder in (SOURCE / "backends").iterdir() if folder.is_dir() and (folder / "backend.py").is_file()
)
READERS = ("text", "number", "switch", "choice", "operator_allows", "decimal", "shrinkage")
ELSEWHERE = {"python"}  # its keys are in docs/reference/names.md, with those of processes
OF_THE_ENGINE = {"default-max-batch-size", "isolation"}
_ROW = re.compile(r"^\| ?(`.*?`(?:, `.*?`)*) ?\|", re.MULTILINE)


def keys_of_page(page: str) -> set[str]:
    """What stands in the first column of every table whose head begins with "Key"."""
    keys: set[str] = set()
    inside = False
    for line in page.splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith("| Key |"):
            inside = True
        elif inside and (row := _ROW.match(line)):
            keys |= set(re.findall(r"`([^`]+)`", row[1]))
    return keys


def keys_read(backend: str) -> set[str]:
    return {key for reader in READERS for key in texts_of_calls(f"backends/{backend}", reader) if key}


def constants(backend: str) -> set[str]:
    return {
        node.value
        for _, tree in trees(f"backends/{backend}")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("backend", [one for one in BACKENDS if one not in ELSEWHERE])
def test_the_page_has_every_key_that_the_backend_reads(backend: str) -> None:
    page = keys_of_page((DOCS / f"{backend}.md").read_text())
    assert keys_read(backend) <= page, "add a row to the page's table of keys"


@pytest.mark.parametrize("backend", [one for one in BACKENDS if one not in ELSEWHERE])
def test_the_page_has_no_key_that_nobody_reads(backend: str) -> None:
    page = keys_of_page((DOCS / f"{backend}.md").read_text())
    exact = {key for key in page - OF_THE_ENGINE if "*" not in key and " " not in key}
    assert page, "the page has no table of keys"
    assert exact <= constants(backend), "the code has no such text: correct the page"


def test_a_missing_key_would_be_seen() -> None:
    rule = "| --- | --- |"
    page = f"| Key | Values |\n{rule}\n| `one`, `two` | 0 |\n\n| Other | Values |\n{rule}\n| `three` | 0 |\n"
    assert keys_of_page(page) == {"one", "two"}
    assert "enable_mem_arena" in keys_read("onnxruntime")


def test_there_is_something_to_compare() -> None:
    assert len(BACKENDS) > 5
    assert (Path(SOURCE) / "backends").is_dir()
