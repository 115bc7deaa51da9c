"""`atoll validate`: what is wrong with the models of a repository, all of it, without serving them."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from atoll.cli.arguments import add_options, values_of
from atoll.config.problems import Problem
from atoll.errors import AtollError
from atoll.models.diagnosis import Diagnosis
from atoll.models.fleet import Fleet
from atoll.options import OPTIONS, ServerOptions, library_options

_OPTIONS = frozenset(
    {
        "model-repository",
        "disable-auto-complete-config",
        "backend-config",
        "model-config-name",
        "model-namespacing",
        "config",
        "follow-external-symlinks",
        "repository-cache-directory",
    }
)  # those that say what a model is; the others are about serving it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Repositories or model files, and those options of the server that concern what is in them."""
    parser.add_argument("paths", nargs="*", metavar="REPOSITORY", help="a model repository or a bare model file")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument(
        "--no-load", action="store_true", help="do not open the model files: check the configurations by themselves"
    )
    add_options(parser, [one for one in OPTIONS if one.name in _OPTIONS])


def run(namespace: argparse.Namespace) -> int:
    """0 where every model can be served, 1 where one cannot, 2 where the repositories cannot be read."""
    values = dict(values_of(namespace))
    repositories = (*values["model_repository"], *namespace.paths)
    if not repositories and not values["config"]:
        print("atoll validate: name a model repository or a model file", file=sys.stderr)
        return 2
    options = ServerOptions(**library_options(values), model_repository=repositories)
    try:
        fleet = Fleet(options, os.environ)
        try:
            found = []
            for diagnosis in fleet.diagnose(load_files=not namespace.no_load):
                found.append(diagnosis)
                if not namespace.json:
                    print(_text(diagnosis), flush=True)
        finally:
            fleet.stop(deadline_ns=0)
    except AtollError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if namespace.json:
        print(json.dumps({"models": [_document(one) for one in found]}, indent=2))
    else:
        print(_summary(found))
    return 0 if all(one.healthy for one in found) else 1


def _text(diagnosis: Diagnosis) -> str:
    versions = ", ".join(map(str, diagnosis.versions))
    verdict = (f"ok (version {versions})" if versions else "ok") if diagnosis.healthy else "cannot be served"
    lines = [f"{diagnosis.model}: {verdict}"]
    for problem in diagnosis.problems:
        kind = "warning" if problem.warning else "error"
        lines.append("\n".join("  " + line for line in f"{kind}: {problem}".splitlines()))
    return "\n".join(lines)


def _summary(found: Sequence[Diagnosis]) -> str:
    broken = sum(not one.healthy for one in found)
    return f"{len(found)} models, {broken} cannot be served" if found else "no models"


def _document(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "model": diagnosis.model,
        "repository": diagnosis.repository,
        "ok": diagnosis.healthy,
        "versions": list(diagnosis.versions),
        "problems": [_problem(one) for one in diagnosis.problems],
    }


def _problem(problem: Problem) -> dict[str, Any]:
    """Keys with nothing to say are left out."""
    parts = {
        "severity": "warning" if problem.warning else "error",
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "key": problem.path,
        "message": problem.message,
        "found": problem.found,
        "expected": problem.expected,
        "remedy": problem.remedy,
    }
    return {key: value for key, value in parts.items() if value}
