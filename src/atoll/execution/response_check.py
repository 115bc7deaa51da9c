"""Whether the outputs with which a model answered a request are those of its configuration. Pure.

The real server sends what a model returns, whatever its configuration says, and models rely on it. So does this one;
the log says once what does not fit.
"""

from atoll.execution.batching.batch import BatchPlan
from atoll.tensor import Tensor

_REMEMBERED = 256


class ResponseCheck:
    """Of one model. What has been looked at is remembered: the next response usually looks the same."""

    def __init__(self, plan: BatchPlan):
        self._plan = plan
        self._outputs = {one.name: one for one in plan.outputs}
        self._seen: set[tuple[object, ...]] = set()
        self._said: set[str] = set()  # outputs of which somebody has heard
        self._missed: set[str] = set()

    def surprise(self, outputs: list[Tensor], wanted: tuple[str, ...] | None = None) -> str:
        """What does not fit, the first time that it is seen of an output; "" otherwise. `wanted`, for a whole answer,
        are the outputs that the client has asked for, none of them meaning all.
        """
        seen = (wanted, *[(one.name, one.datatype.number, one.shape) for one in outputs])
        if seen in self._seen:
            return ""
        text = self._surprise(outputs, wanted)
        if not text:
            if len(self._seen) >= _REMEMBERED:
                self._seen.clear()
            self._seen.add(seen)
        return text

    def _surprise(self, outputs: list[Tensor], wanted: tuple[str, ...] | None) -> str:
        for one in outputs:
            text = self.mistake(one)
            if text and one.name not in self._said and len(self._said) < _REMEMBERED:
                self._said.add(one.name)
                return text
        there = {one.name for one in outputs}
        for name in () if wanted is None else wanted or self._outputs:
            if name not in there and name not in self._missed and len(self._missed) < _REMEMBERED:
                self._missed.add(name)
                return f"model '{self._plan.model_name}' has answered without the output '{name}'; it is sent as it is"
        return ""

    def mistake(self, tensor: Tensor) -> str:
        """What does not fit of one output; "" where all does."""
        plan = self._outputs.get(tensor.name)
        if plan is None:
            return (
                f"model '{self._plan.model_name}' answers with an output '{tensor.name}' that its configuration does "
                f"not have; it has {', '.join(self._outputs) or 'none'}"
            )
        found = f"{tensor.datatype.config_name} {list(tensor.shape)}"
        shape = tensor.shape[1:] if self._plan.batched else tensor.shape
        fits = len(shape) == len(plan.dims) and all(d in (-1, s) for d, s in zip(plan.dims, shape, strict=True))
        if (plan.reshape is None and not fits) or tensor.datatype is not plan.datatype:
            return (
                f"output '{tensor.name}' of model '{self._plan.model_name}' is {found}, its configuration says "
                f"{plan.datatype.config_name} {list(plan.dims)}"
                + (" for each item of the batch" if self._plan.batched else "")
                + "; it is sent as it is"
            )
        return ""
