"""Whether the outputs with which a model answered a request are those of its configuration. Pure."""

from atoll.errors import InternalError
from atoll.execution.batch import BatchPlan
from atoll.tensor import Tensor

_REMEMBERED = 256


class ResponseCheck:
    """Of one model. What fits is remembered: the next response usually looks the same."""

    def __init__(self, plan: BatchPlan):
        self._plan = plan
        self._outputs = {one.name: one for one in plan.outputs}
        self._fits: set[tuple[object, ...]] = set()

    def mistake(self, outputs: list[Tensor]) -> InternalError | None:
        """What is wrong with them, if anything."""
        for one in outputs:
            seen = (one.name, one.datatype, one.shape)
            if seen in self._fits:
                continue
            error = self._mistake(one)
            if error is not None:
                return error
            if len(self._fits) >= _REMEMBERED:
                self._fits.clear()
            self._fits.add(seen)
        return None

    def _mistake(self, tensor: Tensor) -> InternalError | None:
        plan = self._outputs.get(tensor.name)
        model = self._plan.model_name
        if plan is None:
            return InternalError(
                f"unexpected inference output '{tensor.name}' for model '{model}': the configuration has "
                f"{', '.join(self._outputs) or 'none'}"
            )
        if tensor.datatype is not plan.datatype:
            return InternalError(
                f"unexpected datatype {tensor.datatype.config_name} for inference output '{tensor.name}', expecting "
                f"{plan.datatype.config_name}"
            )
        return None
