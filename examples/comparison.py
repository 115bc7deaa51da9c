"""What the digit models answered, beside each other: the table of the demo, and whether they agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The same weights in another framework: sums in another order, and nothing more.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Row:
    """`weights_of` is the model with the same weights under ONNX Runtime, "" where there is none. `difference` is the
    largest of any probability from what that one says.
    """

    model: str
    framework: str
    correct: int
    count: int
    weights_of: str
    difference: float


def row(
    model: str,
    framework: str,
    weights_of: str,
    answers: Mapping[str, NDArray[np.float32]],
    labels: NDArray[np.int64],
) -> Row:
    """`answers`: each model's probabilities, [count, 10]."""
    found = answers[model]
    correct = int((found.argmax(axis=1) == labels).sum())
    difference = float(np.abs(found - answers[weights_of]).max()) if weights_of else 0.0
    return Row(model, framework, correct, len(labels), weights_of, difference)


def disagreements(rows: Sequence[Row], stated: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong, one line each. `stated`: accuracy.json."""
    found = []
    correct = {one.model: one.correct for one in rows}
    for one in rows:
        if not one.difference <= TOLERANCE:  # nor is NaN
            found.append(f"{one.model} differs from {one.weights_of} by {one.difference:.1e}; {TOLERANCE:g} is allowed")
        if one.weights_of in ("", one.model):
            expected = int(stated[one.model]["correct"])
            if abs(one.correct - expected) > 1:  # another CPU may decide one undecided digit otherwise
                found.append(f"{one.model} has {one.correct} digits right; accuracy.json says {expected}")
        elif one.correct != correct[one.weights_of]:
            found.append(f"{one.model} has {one.correct} digits right, {one.weights_of} {correct[one.weights_of]}")
    return found


def table(rows: Sequence[Row]) -> str:
    """As people read it on a terminal."""
    cells = [("model", "framework", "correct", "largest difference")]
    cells += [(one.model, one.framework, f"{one.correct} of {one.count}", _difference(one)) for one in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ("-" * widths[0], "-" * widths[1], "-" * widths[2], "-" * widths[3]))
    return "\n".join("  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _difference(one: Row) -> str:
    if not one.weights_of:
        return "trees, with no weights to share"
    return "the reference" if one.weights_of == one.model else f"{one.difference:.1e} from {one.weights_of}"
