"""A Python model in a thread of the server: no process, nothing between its mistakes and the server, and no copies but
of what it can still change.
"""

import logging
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from sys import getrefcount
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from atoll.backends.api import Answers, Engine, Placement
from atoll.backends.python.engine_host import EngineHost
from atoll.backends.python.request_facts import split_parameters
from atoll.backends.python.runner import PythonModel
from atoll.backends.python.utils import InferenceRequest, InferenceResponse
from atoll.backends.python.utils import Tensor as PbTensor
from atoll.backends.python.utils.current import offer_host
from atoll.backends.python.utils.span_recorder import SpanRecorder
from atoll.errors import AtollError
from atoll.model_log import Speaker
from atoll.request import InferenceRequest as EngineRequest
from atoll.request import ModelSpan
from atoll.tensor import DataType, Tensor

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

logger = logging.getLogger(__name__)

Work = tuple[int, Sequence[EngineRequest]] | SimpleQueue[bool] | None  # a batch; a question; the end


class ThreadInstance:
    """A RequestInstance (backends/api.py). The constructor waits until the model is initialized.

    Raises what the model's initialization raises.
    """

    def __init__(self, setup: Mapping[str, Any], placement: Placement, engine: Engine):
        self._setup = setup
        self._placement = placement
        self._host = EngineHost(engine, Speaker(placement.name, setup["name"], str(setup["version"])))
        folder = str(Path(setup["file"]).parent)
        self._take_back = offer_host(self._host, folder, placement.name, server=engine)  # to threads that it starts
        self._answers: Answers | None = None
        self._work: SimpleQueue[Work] = SimpleQueue()
        self._failure: BaseException | None = None
        self._initialized = threading.Event()
        self._outputs = tuple(setup["outputs"])
        self._states = tuple(setup.get("states", ()))
        self._loop: AbstractEventLoop | None = None
        self.concurrency = 1
        self.depth = 0
        self._thread = threading.Thread(target=self._run, name=placement.name, daemon=True)
        self._thread.start()
        self._initialized.wait()
        if self._failure is not None:
            self._take_back()
            self._host.close()
            raise self._failure

    # ---- in

    def open(self, answers: Answers) -> None:
        """See `RequestInstance.open`."""
        self._answers = answers

    def begin(self, batch: int, requests: Sequence[EngineRequest]) -> None:
        """See `RequestInstance.begin`."""
        if self._loop is not None and self.asynchronous:
            with suppress(RuntimeError):  # it is closed, and the engine fails what it has not answered
                self._loop.call_soon_threadsafe(self._begin_task, batch, requests)
        else:
            self._work.put((batch, requests))

    def flush(self) -> None:
        """Nothing is held back."""

    def cancel(self, request: EngineRequest) -> None:
        """The request says so itself."""

    @property
    def says_ready(self) -> bool:
        """See `RequestInstance.says_ready`."""
        return self._model.says_ready

    def is_ready(self, timeout_s: float) -> bool:
        """See `RequestInstance.is_ready`."""
        said: SimpleQueue[bool] = SimpleQueue()
        if self._loop is not None and self.asynchronous:
            self._loop.call_soon_threadsafe(self._begin_probe, said)
        else:
            self._work.put(said)
        try:
            return said.get(timeout=timeout_s)
        except Empty:
            return False

    # ---- the model's thread

    def _run(self) -> None:
        setup = self._setup
        model = self._model = PythonModel(
            file=Path(setup["file"]),
            name=setup["name"],
            instance=self._placement.name,
            version=setup["version"],
            host=self._host,
            args={
                **setup["args"],
                "model_instance_name": self._placement.name,
                "model_instance_kind": self._placement.kind.removeprefix("KIND_"),
                "model_instance_device_id": str(self._placement.device_id),
            },
            config=setup["config"],
            run_coroutine=self._run_coroutine,
        )
        try:
            model.initialize()
            self.asynchronous = model.asynchronous
            if model.asynchronous:
                self.concurrency = setup["concurrency"]
                self._own_loop()
        except BaseException as error:
            self._failure = error
            if self._loop is not None:
                self._loop.close()
            self._initialized.set()
            return
        self._initialized.set()
        if self.asynchronous:
            self._own_loop().run_forever()
        else:
            self._execute_in_order()
        model.finalize()
        if self._loop is not None:
            self._loop.close()
        self._take_back()
        self._host.close()

    asynchronous = False

    def _execute_in_order(self) -> None:
        while True:
            work = self._work.get()
            if work is None:
                return
            if isinstance(work, SimpleQueue):
                work.put(self._model.is_ready())
                continue
            batch, requests = work
            begin_ns = monotonic_ns()
            received = [self._received(request) for request in requests]
            self._model.execute(received)
            del received, work, requests
            self._released(batch, begin_ns)

    def _begin_task(self, batch: int, requests: Sequence[EngineRequest]) -> None:
        loop = self._own_loop()
        task = loop.create_task(self._execute_task(batch, requests))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin_probe(self, said: SimpleQueue[bool]) -> None:
        task = self._own_loop().create_task(self._probe(said))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _probe(self, said: SimpleQueue[bool]) -> None:
        said.put(await self._model.is_ready_async())

    async def _execute_task(self, batch: int, requests: Sequence[EngineRequest]) -> None:
        begin_ns = monotonic_ns()
        try:
            await self._model.execute_async([self._received(request) for request in requests])
        finally:  # also where the model awaited what was cancelled
            self._released(batch, begin_ns)

    def _released(self, batch: int, begin_ns: int) -> None:
        answers = self._answers
        assert answers is not None, "a batch was begun before the instance was opened. This is a bug"
        answers.released(batch, monotonic_ns() - begin_ns)
        answers.settle()

    def _own_loop(self) -> "AbstractEventLoop":
        """The loop of this instance's thread, made when the model has a coroutine to run."""
        if self._loop is None:
            import asyncio

            self._loop = asyncio.new_event_loop()
            self._tasks: set[asyncio.Task[None]] = set()
        return self._loop

    def _run_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        loop = self._own_loop()
        if threading.current_thread() is self._thread:
            return loop.run_until_complete(coroutine)
        import asyncio

        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def _received(self, request: EngineRequest) -> InferenceRequest:
        answers = self._answers
        assert answers is not None, "a batch was begun before the instance was opened. This is a bug"
        recorder = SpanRecorder() if request.trace is not None and request.trace.number else None
        facts = split_parameters(request.parameters or {}, timeout=request.timeout_us, outputs=request.output_names)
        return InferenceRequest.received(
            [_received_input(tensor) for tensor in request.inputs.values()],
            delivery=_Delivery(answers, request, recorder),
            host=self._host,
            model_name=self._setup["name"],
            model_version=str(self._setup["version"]),
            request_id=request.id,
            correlation_id=facts.correlation_id,
            flags=facts.flags,
            timeout=facts.timeout,
            parameters=facts.parameters,
            requested_output_names=facts.outputs or self._outputs,
            state_output_names=self._states,
            trace_context=request.trace.text if request.trace is not None else None,
            trace_origin=request.trace,
            span_recorder=recorder,
            decoupled=self._model.decoupled,
        )

    # ---- end

    def close(self, deadline_ns: int) -> bool:
        """See `RequestInstance.close`. False where the model's code does not return in time."""
        if self._loop is not None and self.asynchronous:
            self._loop.call_soon_threadsafe(self._end_loop)
        else:
            self._work.put(None)
        self._thread.join(max(deadline_ns - monotonic_ns(), 1_000_000_000) / 1e9)
        if self._thread.is_alive():
            logger.error("model instance '%s' does not come to an end: its thread is left behind", self._placement.name)
            return False
        return True

    def _end_loop(self) -> None:
        for task in self._tasks:
            task.cancel()
        loop = self._own_loop()
        loop.call_soon(loop.stop)


def _received_input(tensor: Tensor) -> Tensor:
    """The caller's array is its own: a model that writes to it gets a copy."""
    if tensor.buffer is not None or tensor.datatype is DataType.BYTES:
        return tensor
    array = tensor.array().view()
    array.flags.writeable = False
    return Tensor(tensor.name, tensor.datatype, tensor.shape, array=array)


def _own(tensor: Tensor) -> Tensor:
    """What goes out, where the model may hold it, too: a copy, as the model may write to it later."""
    if tensor.buffer is not None:
        return tensor
    array = tensor.array()
    if array.base is None and getrefcount(array) <= _SOLE:
        return tensor
    return Tensor(tensor.name, tensor.datatype, tensor.shape, array=array.copy())


def _sole() -> int:
    """What `_own` counts for an array that only its tensor holds."""
    response = InferenceResponse([PbTensor("OUT", np.empty(1, np.float32))])
    [tensor] = response.tensors
    array = tensor.array()
    return getrefcount(array)


_SOLE = _sole()


class _Delivery:
    """Where the responses of one request go: host.py, Delivery."""

    __slots__ = ("_answers", "_recorder", "_request")

    def __init__(self, answers: Answers, request: EngineRequest, recorder: SpanRecorder | None):
        self._answers = answers
        self._request = request
        self._recorder = recorder

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        if final and self._recorder is not None:
            self._note_spans()
        if response is None:
            self._answers.finish(self._request)
            return
        error: AtollError | None = None
        outputs: list[Tensor] = []
        if response.error_or_none is not None:
            error = response.error_or_none.as_atoll_error()
        else:
            outputs = [_own(tensor) for tensor in response.tensors]
        parameters = dict(response.parameter_values) if response.parameter_values else None
        self._answers.respond(self._request, outputs, parameters=parameters, error=error, final=final)

    def flush(self) -> None:
        pass

    def _note_spans(self) -> None:
        """What the model has said of its own work, before the record of the request may be whole."""
        if self._recorder is not None and self._request.trace is not None:
            rows = self._recorder.close()
            if rows:
                self._request.trace.note([ModelSpan(*row) for row in rows])

    def reschedule(self) -> None:
        self._note_spans()
        self._answers.reschedule(self._request)
        self._answers.settle()

    def is_cancelled(self) -> bool:
        return self._request.cancelled
