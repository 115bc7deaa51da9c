"""The life of one TritonPythonModel: made, initialized, executed again and again, finalized.

Whatever the model's code does, each request that it is given ends: with the model's own response, with an error that
names the model, the file and the line, or, where the model has kept the request's sender, by that. Nothing here knows
whether the server is in this process or in another.

Imported by child processes: the standard library and numpy only, on Python 3.10 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atoll.backends.python.auto_complete import auto_complete
from atoll.backends.python.event_loop import EventLoopThread
from atoll.backends.python.failure import failure_text, place_of, places_of, traceback_text
from atoll.backends.python.model_file import CLASS_NAME
from atoll.backends.python.module_loading import load_module, unload_module
from atoll.backends.python.utils import (
    TRITONSERVER_REQUEST_RELEASE_RESCHEDULE,
    TRITONSERVER_RESPONSE_COMPLETE_FINAL,
    InferenceRequest,
    InferenceResponse,
    TritonError,
)
from atoll.backends.python.utils.current import current, in_request, use_host
from atoll.errors import AtollError, InternalError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from atoll.backends.python.host import ModelHost

    RunCoroutine = Callable[[Coroutine[Any, Any, Any]], Any]

__all__ = ["PythonModel", "auto_complete", "load_module"]

_IS_COROUTINE_FUNCTION = 0x80  # inspect.CO_COROUTINE; inspect takes long to import
_MAX_LOGGED = 64 << 10


class _WrongReturnError(Exception):
    """`execute` returned what it must not; the text is the real server's."""


class PythonModel:
    """One TritonPythonModel in this process.

    `decoupled` says whether its configuration lets it answer a request any number of times; `asynchronous`, known after
    `initialize`, whether `execute` is a coroutine function, for which `execute_async` is there. `execute` and
    `execute_async` never raise for what the model's code does.

    `own_process`: the model has this process for itself, and its module is imported just as by the real server (see
    module_loading.py). `run_coroutine` waits for a coroutine of the model's, in whichever loop its other coroutines
    run; without it there is a thread with a loop for them. `module`: loaded already, by `load_module`.
    """

    def __init__(
        self,
        *,
        file: Path,
        name: str,
        instance: str,
        version: int,
        host: ModelHost,
        args: Mapping[str, str],
        config: Mapping[str, Any],
        module: ModuleType | None = None,
        own_process: bool = False,
        run_coroutine: RunCoroutine | None = None,
    ):
        self.file = file
        self.name = name
        self.instance = instance
        self.version = version
        self.decoupled = bool((config.get("model_transaction_policy") or {}).get("decoupled", False))
        self.asynchronous = False
        self._host = host
        self._args = dict(args)
        self.directory = _version_directory(args, file)
        self._given_module = module
        self._module: ModuleType | None = None
        self._own_process = own_process
        self._loop = EventLoopThread(f"{instance}-event-loop") if run_coroutine is None else None
        self._run_coroutine = run_coroutine if self._loop is None else self._loop.run
        self._model: Any = None

    # ---- the beginning

    def initialize(self) -> None:
        """Import the module, make the model and call its `initialize`. Raises InternalError, whose text says what
        happened and where; the log has the traceback.
        """
        with use_host(self._host, self.directory, self.instance):
            where: Any = None
            try:
                module = self._module = self._given_module or load_module(
                    self.file, version=self.version, own_process=self._own_process
                )
                where = getattr(module, CLASS_NAME)
                self._model = where()
                if hasattr(self._model, "initialize"):
                    where = self._model.initialize
                    self._finished(where(self._args))
            except BaseException as error:
                self._model = None
                if isinstance(error, AtollError) and not places_of(error):
                    self._close()
                    raise  # the file is none
                self._log_failure("cannot initialize the model", error)
                self._close()
                raise InternalError(failure_text(error, place_of(where, self.file))) from error
        execute = getattr(self._model, "execute", None)
        self.asynchronous = _is_coroutine_function(execute)
        if execute is None:
            self._host.log("WARNING", f"{self._without_execute()} Every request will fail.", str(self.file), 1)

    @property
    def model(self) -> Any:
        """The TritonPythonModel object; None before `initialize` and after `finalize`."""
        return self._model

    # ---- requests

    def execute(self, requests: Sequence[InferenceRequest]) -> None:
        """Run a batch. An asynchronous model's is waited for."""
        here = current()
        if here is None or here.host is not self._host:
            with use_host(self._host, self.directory, self.instance):
                self._execute(requests)
        else:
            self._execute(requests)

    def _execute(self, requests: Sequence[InferenceRequest]) -> None:
        held = tuple(requests)  # the list that the model gets is the model's
        about = held[0].request_id() if len(held) == 1 else ""
        if about:
            in_request(about)
        try:
            returned = self._call(held)
            if returned.__class__ is list and len(returned) == len(held) and not self.decoupled:
                self._answer(held, returned)
            elif hasattr(returned, "__await__"):
                self._wait(self._finish(held, returned))
            else:
                self._answer_unusual(held, returned)
        except BaseException as error:  # SystemExit and KeyboardInterrupt are errors of the batch, too
            self.fail(held, error)
        finally:
            if about:
                in_request("")

    async def execute_async(self, requests: Sequence[InferenceRequest]) -> None:
        """Run a batch of an asynchronous model; many may run at once on one loop. Where it is cancelled, its requests
        end with an error.
        """
        here = current()
        if here is None or here.host is not self._host:
            with use_host(self._host, self.directory, self.instance):
                await self._execute_async(tuple(requests))
        else:
            await self._execute_async(tuple(requests))

    async def _execute_async(self, held: tuple[InferenceRequest, ...]) -> None:
        if len(held) == 1:
            in_request(held[0].request_id())  # the task's context ends with it
        try:
            returned = self._call(held)
        except BaseException as error:
            self.fail(held, error)
            return
        await self._finish(held, returned)

    async def _finish(self, held: tuple[InferenceRequest, ...], returned: Any) -> None:
        """The rest of a batch, from what calling `execute` gave."""
        if len(held) == 1:
            in_request(held[0].request_id())
        try:
            if hasattr(returned, "__await__"):
                returned = await returned
            self._answer_unusual(held, returned)
        except BaseException as error:
            self.fail(held, error)
            if type(error).__name__ == "CancelledError" or isinstance(error, GeneratorExit):
                raise  # asyncio's, or the end of the coroutine: whoever said it must see that it was heard

    def _call(self, held: tuple[InferenceRequest, ...]) -> Any:
        try:
            execute = self._model.execute
        except AttributeError:
            raise _WrongReturnError(self._without_execute()) from None
        return execute(list(held))

    # ---- responses

    def _answer(self, held: tuple[InferenceRequest, ...], returned: list[Any]) -> None:
        """The usual: a response for each request, of which none has been answered before."""
        for request, response in zip(held, returned):  # noqa: B905 - of one length
            if response.__class__ is not InferenceResponse or request.release_flags != 1 or request.has_sender:
                return self._answer_unusual(held, returned)
        for request, response in zip(held, returned):  # noqa: B905
            request.finish(response)
        return None

    def _answer_unusual(self, held: tuple[InferenceRequest, ...], returned: Any) -> None:
        """Whatever `execute` may return. Nothing is sent before all of it has been found right."""
        if returned is None:
            returned = [None] * len(held)
        elif self.decoupled:
            raise self._wrong(
                f"Python model '{self.instance}' is using the decoupled mode and the execute function must return None."
            )
        elif not isinstance(returned, list):
            raise self._wrong(f"Expected a list in the execute return, found type '{type(returned)}'.")
        elif len(returned) != len(held):
            raise self._wrong(
                "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
                f"InferenceRequest(s) size is:{len(held)}, and InferenceResponse(s) size is:{len(returned)}\n"
            )
        for request, response in zip(held, returned):  # noqa: B905 - of one length
            if response is None:
                continue
            if request.release_flags == TRITONSERVER_REQUEST_RELEASE_RESCHEDULE:
                raise self._wrong(
                    "Expected a None object in the execute function return list for reschduled request, found type "
                    f"'{type(response)}'."
                )
            if not isinstance(response, InferenceResponse):
                raise self._wrong(
                    "Expected an 'InferenceResponse' object in the execute function return list, found type "
                    f"'{type(response)}'."
                )
        for request, response in zip(held, returned):  # noqa: B905
            if response is not None:
                self._respond(request, response)
            elif request.release_flags == TRITONSERVER_REQUEST_RELEASE_RESCHEDULE:
                self._reschedule(request)
            else:
                request.get_response_sender().explain = self._unanswered  # if the model lets go of the request

    def _respond(self, request: InferenceRequest, response: InferenceResponse) -> None:
        if not request.has_sender:
            request.finish(response)
            return
        try:
            request.get_response_sender().send(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:  # the model has answered this one itself; the others get theirs
            request.finish(None)
            file, line = self._execute_line()
            self._host.log("ERROR", f"{self._processing()}{error}", file, line)

    def _reschedule(self, request: InferenceRequest) -> None:
        if request.reschedule():
            return
        file, line = self._execute_line()
        self._host.log(
            "ERROR",
            f"{self._processing()}a request with TRITONSERVER_REQUEST_RELEASE_RESCHEDULE has had its final response "
            "already, and is not executed again",
            file,
            line,
        )

    def fail(self, held: tuple[InferenceRequest, ...], error: BaseException) -> None:
        """End every request that has not ended with what the code raised."""
        if isinstance(error, _WrongReturnError):
            text = self._processing() + str(error)
            file, line = self._execute_line()
            self._host.log("ERROR", text, file, line)
        else:
            text = self._processing() + failure_text(error, place_of(getattr(self._model, "execute", None), self.file))
            self._log_failure(self._processing().rstrip(), error)
        response = InferenceResponse([], TritonError(text))
        for request in held:
            request.finish(response)

    # ---- the rest of its life

    @property
    def says_ready(self) -> bool:
        """Whether the model has an `is_ready` of its own."""
        return hasattr(self._model, "is_ready")

    def is_ready(self) -> bool:
        """What the model's own `is_ready` says; True for a model without one. Failing, or saying what is no bool, is
        no: the log has it.
        """
        check = getattr(self._model, "is_ready", None)
        if check is None:
            return self._model is not None
        with use_host(self._host, self.directory, self.instance):
            try:
                return self._readiness(self._finished(check()))
            except BaseException as error:
                self._log_failure("is_ready failed", error)
                return False

    async def is_ready_async(self) -> bool:
        """The same on the loop where the model's coroutines run."""
        check = getattr(self._model, "is_ready", None)
        if check is None:
            return self._model is not None
        with use_host(self._host, self.directory, self.instance):
            try:
                said = check()
                return self._readiness(await said if hasattr(said, "__await__") else said)
            except Exception as error:
                self._log_failure("is_ready failed", error)
                return False

    def _readiness(self, said: Any) -> bool:
        if isinstance(said, bool):
            return said
        raise TypeError(f"is_ready must return a bool, it returned {type(said).__name__}")

    def finalize(self) -> None:
        """Call the model's `finalize`, and let go of the model and its module. Never raises: the log has what it
        raised.
        """
        model, self._model = self._model, None
        if model is None:
            return
        with use_host(self._host, self.directory, self.instance):
            try:
                if hasattr(model, "finalize"):
                    self._finished(model.finalize())
            except BaseException as error:
                self._log_failure("finalize failed", error)
        del model
        self._close()

    def _close(self) -> None:
        if self._loop is not None:
            self._loop.close()
        module, self._module = self._module, None
        if module is not None and self._given_module is None:
            unload_module(module)

    # ---- small things

    def _finished(self, returned: Any) -> Any:
        """What a method gave, once it is done."""
        return self._wait(_awaited(returned)) if hasattr(returned, "__await__") else returned

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        assert self._run_coroutine is not None, "one of the two is there. This is a bug"
        return self._run_coroutine(coroutine)

    def _processing(self) -> str:
        return f"Failed to process the request(s) for model '{self.instance}', message: "

    def _without_execute(self) -> str:
        return f"Python model {self.file} does not implement `execute` method."

    def _wrong(self, text: str) -> _WrongReturnError:
        place = place_of(getattr(self._model, "execute", None), self.file)
        return _WrongReturnError(f"{text.rstrip()}\n\nAt:\n  {place}\n")

    def _unanswered(self, text: str) -> str:
        text = f"{self._processing()}{self._wrong(text)}"
        self._host.log("ERROR", text, *self._execute_line())
        return text

    def _execute_line(self) -> tuple[str, int]:
        code = getattr(getattr(self._model, "execute", None), "__code__", None)
        return (code.co_filename, code.co_firstlineno) if code is not None else (str(self.file), 1)

    def _log_failure(self, what: str, error: BaseException) -> None:
        places = places_of(error)
        file, line = (places[-1][0], places[-1][1]) if places else (str(self.file), 1)
        text = f"{self.instance}: {what}" if self.instance not in what else what
        self._host.log("ERROR", f"{text}\n{traceback_text(error)[:_MAX_LOGGED]}", file, line)


def _version_directory(args: Mapping[str, str], file: Path) -> str:
    """Where the model's own files are. Its code is there too, unless that is a python-based backend's."""
    if "model_repository" in args and "model_version" in args:
        return f"{args['model_repository'].rstrip('/')}/{args['model_version']}"
    return str(file.parent)


async def _awaited(thing: Any) -> Any:
    return await thing


def _is_coroutine_function(function: Any) -> bool:
    """As inspect.iscoroutinefunction: also of a method, and of a partial of one."""
    while True:
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if inner is None:
            break
        function = inner
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & _IS_COROUTINE_FUNCTION)
