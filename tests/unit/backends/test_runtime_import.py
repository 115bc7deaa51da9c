"""A backend's library, imported when it is needed; and what is said where it is not there, or broken."""

import sys
from pathlib import Path

import pytest

from atoll.backends.runtime import import_runtime
from atoll.errors import MissingExtraError


def imported(module: str) -> object:
    return import_runtime(module, backend="pytorch", library="PyTorch", extra="pytorch")


def test_the_module_itself() -> None:
    assert imported("json.decoder") is sys.modules["json.decoder"]


def test_a_missing_library_names_the_extra() -> None:
    with pytest.raises(MissingExtraError) as refusal:
        imported("no_such_library_of_ours")
    assert str(refusal.value) == (
        "the pytorch backend needs PyTorch, which cannot be imported (No module named 'no_such_library_of_ours'); "
        'install it with: pip install "atoll[pytorch]"'
    )


def test_a_broken_installation_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_library_of_ours.py").write_text("raise ImportError('libcudart.so.12: cannot open')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"libcudart\.so\.12: cannot open"):
        imported("broken_library_of_ours")
