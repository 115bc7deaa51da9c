"""`atoll validate`: what is wrong with the models of a repository, all of it, without serving them."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from atoll.cli.arguments import add_options, bounded, values_of
from atoll.cli.problem_document import problem_document, problem_text
from atoll.errors import AtollError
from atoll.models.diagnosis import Diagnosis
from atoll.models.fleet import Fleet
from atoll.models.location import mistake_about
from atoll.options import OPTIONS, ServerOptions, library_options

_OPTIONS = frozenset(
    {
        "model-repository",
        "disable-auto-complete-config",
        "backend-config",
        "backend-directory",
        "model-config-name",
        "model-namespacing",
        "config",
        "follow-external-symlinks",
        "repository-cache-directory",
    }
)  # those that say what a model is; the others are about serving it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Repositories or model files, and those options of the server that concern what is in them."""
    parser.add_argument("paths", nargs="*", metavar="REPOSITORY", help="a model repository, or a model alone")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument(
        "--no-load", action="store_true", help="do not open the model files: check the configurations by themselves"
    )
    add_options(parser, [one for one in OPTIONS if one.name in _OPTIONS])


def run(namespace: argparse.Namespace) -> int:
    """0 where every model can be served, 1 where one cannot, 2 where the repositories cannot be read or hold none."""
    values = bounded(values_of(namespace))
    repositories = (*values["model_repository"], *namespace.paths)
    if not repositories and not values["config"]:
        return _refuse("name a model repository or a model file", namespace.json)
    mistakes = [text for text in map(mistake_about, repositories) if text]
    if mistakes:
        return _refuse("\n".join(mistakes), namespace.json)
    options = ServerOptions(**library_options(values), model_repository=repositories)
    found: list[Diagnosis] = []
    try:
        fleet = Fleet(options, os.environ)
        try:
            for diagnosis in fleet.diagnose(load_files=not namespace.no_load):
                found.append(diagnosis)
                if not namespace.json:
                    print(_text(diagnosis), flush=True)
        finally:
            fleet.stop(deadline_ns=0)
    except AtollError as error:
        return _refuse(str(error), namespace.json)
    if not found:
        return _refuse(f"there are no models in {', '.join(repositories) or values['config']}", namespace.json)
    print(json.dumps(_document(found), indent=2) if namespace.json else _summary(found))
    return 0 if all(one.healthy for one in found) else 1


def _refuse(text: str, as_json: bool) -> int:
    """Nothing could be validated: that must not pass for a repository in which all is well."""
    print(f"error: {text}", file=sys.stderr)
    if as_json:
        print(json.dumps({"ok": False, "models": [], "error": text}, indent=2))
    return 2


def _text(diagnosis: Diagnosis) -> str:
    versions = ", ".join(map(str, diagnosis.versions))
    label = "version" if len(diagnosis.versions) == 1 else "versions"
    verdict = (f"ok ({label} {versions})" if versions else "ok") if diagnosis.healthy else "cannot be served"
    problems = [line for problem in diagnosis.problems for line in problem_text(problem).splitlines()]
    return "\n  ".join([f"{diagnosis.model}: {verdict}", *problems])


def _summary(found: Sequence[Diagnosis]) -> str:
    broken = sum(not one.healthy for one in found)
    warnings = sum(any(problem.warning for problem in one.problems) for one in found)
    models = "1 model" if len(found) == 1 else f"{len(found)} models"
    return f"{models}, {broken} cannot be served" + (f", {warnings} with a warning" if warnings else "")


def _document(found: Sequence[Diagnosis]) -> dict[str, Any]:
    return {
        "ok": all(one.healthy for one in found),
        "models": [
            {
                "model": one.model,
                "repository": one.repository,
                "ok": one.healthy,
                "versions": list(one.versions),
                "problems": [problem_document(problem) for problem in one.problems],
            }
            for one in found
        ],
    }
