"""A problem of a configuration as the commands print it: a line of text, or an object of a JSON document."""

from typing import Any

from atoll.config.problems import Problem


def problem_text(problem: Problem) -> str:
    """With its severity in front."""
    return f"{_severity(problem)}: {problem}"


def problem_document(problem: Problem) -> dict[str, Any]:
    """Keys with nothing to say are left out."""
    parts = {
        "severity": _severity(problem),
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


def _severity(problem: Problem) -> str:
    return "warning" if problem.warning else "error"
