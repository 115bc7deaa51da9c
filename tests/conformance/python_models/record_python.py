"""Asks the real server about Python models: python -m tests.conformance.python_models.record_python [NAME ...]

The answers are kept with the others; with names, only those scenarios are asked again. A few errors of metrics end the
real server now and then (a race of its own), so a scenario that it does not survive is asked again.
"""

import sys
from pathlib import Path
from typing import Any

from tests.conformance.process import start_real_triton
from tests.conformance.python_models.scenarios import OPTIONS, Examination, scenarios
from tests.conformance.python_models.steps import AnyStep
from tests.conformance.python_models.unrecorded import UNRECORDED
from tests.conformance.recording import read_record, write_down

RECORD = "python_models"
TRIES = 12


def record(names: list[str], folder: Path) -> dict[str, Any]:
    """The real server's answers, by scenario and step."""
    found: dict[str, Any] = {}
    with Examination(lambda models, log: start_real_triton(models, log, *OPTIONS), folder) as examination:
        for name, steps in scenarios().items():
            if name not in UNRECORDED and (not names or name in names):
                print(name, file=sys.stderr, flush=True)
                found[name] = _surviving(examination, steps)
                if any(answer == {"settled": False} for answer in found[name].values()):
                    examination.renew()
    return found


def _surviving(examination: Examination, steps: list[AnyStep]) -> dict[str, Any]:
    """A whole scenario's answers. Of those steps that end the server, what stands between them is asked again."""
    answers: dict[str, Any] = {}
    left, tries = list(steps), 0
    while left:
        found = examination.take([*_loads(steps, left), *left])
        done = len(found) - len(_loads(steps, left)) - (1 if examination.ended else 0)
        answers |= {step.name: found[step.name] for step in left[: max(done, 0)]}
        left = left[max(done, 0) :]
        tries = 0 if done > 0 else tries + 1
        if tries > TRIES:
            raise RuntimeError(f"the server does not survive {left[0].name}")
    return answers


def _loads(steps: list[AnyStep], left: list[AnyStep]) -> list[AnyStep]:
    """What has to be loaded again by a new server."""
    if len(left) == len(steps):
        return []
    return [step for step in steps if ": load " in step.name and step not in left]


def main(names: list[str]) -> int:
    kept = read_record(RECORD) if names else {}
    return write_down(lambda folder: kept | record(names, folder), RECORD)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
