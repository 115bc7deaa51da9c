"""What tests share that ask the real server again, whether it still answers as recorded. Their mark is `oracle`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.process import install_real_triton


def skip_without_real_server() -> None:
    """Skips a test where the real server cannot be installed."""
    reason = install_real_triton()
    if reason:
        pytest.skip(f"the real Triton server cannot be installed: {reason}")


def skip_unless_all_is_asked(why: str = "it takes long") -> None:
    """Skips a test that is too long for each time."""
    if not all_is_asked():
        pytest.skip(f"{why}: asked with ATOLL_ASK_ORACLE=all")


def all_is_asked() -> bool:
    return os.environ.get("ATOLL_ASK_ORACLE") == "all"


def ask_again(record: Callable[[Path], Any], folder: Path) -> Any:
    """What a recorder would write down now. `folder` gets its servers."""
    skip_without_real_server()
    return record(folder)
