"""A backend that takes requests as they are, for a model that sees other shapes than its clients: `reshape`.

Requests and outputs change shape on their way, as they do at the real server; nothing is copied. A model without
`reshape` has nothing of this in its way.
"""

from collections.abc import Sequence

from atoll.backends.api import Answers, RequestInstance
from atoll.errors import AtollError, InternalError
from atoll.execution.batching.joining import seen_shape, with_shape
from atoll.execution.batching.plan import BatchPlan, TensorPlan
from atoll.request import InferenceRequest, Parameter
from atoll.tensor import Tensor, element_count


def in_models_shapes(backend: RequestInstance, plan: BatchPlan) -> RequestInstance:
    """The backend's instance itself, or one that reshapes for it where the model's configuration asks for that."""
    if plan.reshaped or any(one.reshape is not None for one in plan.outputs):
        return _Reshaping(backend, plan)
    return backend


class _Seen(Tensor):
    """An input in the model's shape: of a request that is executed again it is not reshaped again."""

    __slots__ = ()


class _Reshaping:
    """A RequestInstance in front of another."""

    def __init__(self, backend: RequestInstance, plan: BatchPlan):
        self.concurrency = backend.concurrency
        self.depth = backend.depth
        self._backend = backend
        self._plan = plan

    def open(self, answers: Answers) -> None:
        self._backend.open(_InClientsShapes(answers, self._plan))

    def begin(self, batch: int, requests: Sequence[InferenceRequest]) -> None:
        for request in requests:
            request.inputs = self._seen(request.inputs)
        self._backend.begin(batch, requests)

    def _seen(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        seen = dict(inputs)
        for one in self._plan.reshaped:
            tensor = inputs.get(one.name)
            if tensor is not None and not isinstance(tensor, _Seen):
                seen[one.name] = with_shape(tensor, seen_shape(tensor.shape, one, self._plan.batched), _Seen)
        return seen

    def flush(self) -> None:
        self._backend.flush()

    def cancel(self, request: InferenceRequest) -> None:
        self._backend.cancel(request)

    @property
    def says_ready(self) -> bool:
        return self._backend.says_ready

    def is_ready(self, timeout_s: float) -> bool:
        return self._backend.is_ready(timeout_s)

    def close(self, deadline_ns: int) -> bool:
        return self._backend.close(deadline_ns)


class _InClientsShapes:
    """The engine's Answers, in front of which outputs get the shapes that clients see."""

    def __init__(self, answers: Answers, plan: BatchPlan):
        self._answers = answers
        self._batched = plan.batched
        self._outputs = {one.name: one for one in plan.outputs if one.reshape is not None}

    def respond(
        self,
        request: InferenceRequest,
        outputs: list[Tensor],
        *,
        parameters: dict[str, Parameter] | None = None,
        error: AtollError | None = None,
        final: bool = True,
    ) -> None:
        try:
            outputs = [self._shown(one) for one in outputs]
        except InternalError as mistake:
            error, outputs = error or mistake, []
        self._answers.respond(request, outputs, parameters=parameters, error=error, final=final)

    def _shown(self, tensor: Tensor) -> Tensor:
        plan = self._outputs.get(tensor.name)
        if plan is None:
            return tensor
        shape = _shown_shape(tensor.shape, plan, self._batched)
        if shape is None or element_count(shape) != element_count(tensor.shape):
            raise InternalError(f"output tensor shape does not match size of output for '{tensor.name}'")
        return with_shape(tensor, shape)

    def finish(self, request: InferenceRequest) -> None:
        self._answers.finish(request)

    def reschedule(self, request: InferenceRequest) -> None:
        self._answers.reschedule(request)

    def released(self, batch: int, execution_ns: int) -> None:
        self._answers.released(batch, execution_ns)

    def down(self, reason: str) -> None:
        self._answers.down(reason)

    def up(self) -> None:
        self._answers.up()

    def settle(self) -> None:
        self._answers.settle()


def _shown_shape(shape: tuple[int, ...], plan: TensorPlan, batched: bool) -> tuple[int, ...] | None:
    """What clients see of an output that the model has returned in this shape; None where it cannot be told."""
    head, item = (shape[:1], shape[1:]) if batched else ((), shape)
    assert plan.reshape is not None, "only outputs with a reshape get here. This is a bug"
    if len(item) != len(plan.reshape) or len(head) != batched:
        return None
    variable = iter([actual for dim, actual in zip(plan.reshape, item, strict=True) if dim < 0])
    fixed = element_count([dim for dim in plan.dims if dim > 0])
    return (*head, *(next(variable, element_count(item) // fixed) if dim < 0 else dim for dim in plan.dims))
