"""What `summary.py` has counted, as a table for each model and version."""

from collections.abc import Sequence
from typing import Final

from atoll.observability.timeline.drawing import Style
from atoll.observability.timeline.summary import QUANTILES, ModelSummary
from atoll.observability.timeline.text import duration, fitted, shown

_NUMBER: Final = 10  # columns


def summary_lines(models: Sequence[ModelSummary], style: Style) -> list[str]:
    """A line for each stage, below the model's own; none wider than the style says, or 80 columns."""
    titles = ("count", "mean", *(f"p{round(100 * part)}" for part in QUANTILES))
    label = min(max(style.columns, 80) - len(titles) * _NUMBER, 44)
    lines: list[str] = []
    for model in models:
        lines += [""] if lines else []
        name = shown(model.model, ascii_only=style.ascii_only) or "no model"
        version = f" version {shown(model.version, ascii_only=style.ascii_only)}" if model.version else ""
        head = fitted(name + version, label, ellipsis=style.ellipsis)
        lines.append(head + "".join(f"{title:>{_NUMBER}}" for title in titles))
        for stage, durations in model.stages.items():
            values = (durations.mean, *(durations.quantile(part) for part in QUANTILES))
            text = fitted(f"  {shown(stage, ascii_only=style.ascii_only)}", label, ellipsis=style.ellipsis)
            cells = (str(durations.count), *map(duration, values))
            lines.append(text + "".join(f"{cell:>{_NUMBER}}" for cell in cells))
    return lines
