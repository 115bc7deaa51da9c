"""Key files for tests: written as records say, and put in place as an editor or Kubernetes does."""

import json
import os
from pathlib import Path
from typing import Any

from atoll.frontends.access.key_form import hash_text


def key_text(*keys: dict[str, Any]) -> str:
    """A file of these; `key` is the key itself, of which its hash is written."""
    entries = [{"hash": hash_text(one["key"]), **one} for one in keys]
    return json.dumps({"keys": [{name: value for name, value in one.items() if name != "key"} for one in entries]})


def put(path: Path, text: str) -> None:
    """In one step, so that no reader sees half of it."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    os.replace(beside, path)
