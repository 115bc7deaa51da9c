"""The dashboards as they lie in the folder, and every query in them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
PATHS = sorted(FOLDER.glob("*.json"))

_VARIABLE = re.compile(r"\$\{?(\w+)(?::\w+)?\}?")
_LABEL_VALUES = re.compile(r"label_values\((.*), *(\w+)\)")

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """`where`: dashboard and title. `label`: of a variable, the label whose values it takes. `annotation`: shown only
    where something happened.
    """

    where: str
    expression: str
    instant: bool = False
    annotation: bool = False
    label: str = ""

    def filled(self, variables: Mapping[str, str]) -> str:
        """The expression with the values of variables in it. Raises KeyError for one that has none."""
        return _VARIABLE.sub(lambda found: variables[found[1]], self.expression)


def read(path: Path) -> Json:
    board: Json = json.loads(path.read_text())
    return board


def panels(board: Json) -> list[Json]:
    """Those that show something; rows only part them."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def variables(board: Json) -> dict[str, Json]:
    return {one["name"]: one for one in board["templating"]["list"]}


def queries(board: Json) -> Iterator[Query]:
    """Of variables, annotations and panels."""
    for name, variable in variables(board).items():
        if variable["type"] == "query":
            found = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert found, f"{variable['query']} is no label_values(metric, label)"
            yield Query(f"{board['uid']}: variable {name}", found[1], label=found[2])
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:
            yield Query(f"{board['uid']}: annotation {annotation['name']}", annotation["expr"], annotation=True)
    for panel in panels(board):
        for target in panel["targets"]:
            where = f"{board['uid']}: {panel['title']} {target['refId']}"
            yield Query(where, target["expr"], instant=target.get("instant", False))
