"""The rules as they lie in the folder."""

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
PATHS = sorted((FOLDER / "rules").glob("*.yml"))

Json = dict[str, Any]


def rules(kind: str) -> list[Json]:
    """Those that have the member `kind`: "alert" or "record"."""
    groups = [group for path in PATHS for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]
