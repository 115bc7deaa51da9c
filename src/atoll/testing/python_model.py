"""A Python model in a test: its directory loaded, its methods run on numpy arrays, no server anywhere."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from atoll.backends.python import runner
from atoll.backends.python.auto_complete import auto_complete
from atoll.backends.python.utils import InferenceRequest, InferenceResponse
from atoll.backends.python.utils.current import use_host
from atoll.calls import input_tensor
from atoll.config.auto_complete import completed
from atoll.config.autofill import normalize
from atoll.config.json_form import from_json, to_json
from atoll.config.model_config import ModelConfig
from atoll.config.problems import config_error, errors_of
from atoll.config.validate import validate_config
from atoll.config.written import overlay, read_written
from atoll.errors import AtollError, ConfigError, InternalError, InvalidArgumentError
from atoll.execution.batching.batch import plan_batches
from atoll.execution.response_check import ResponseCheck
from atoll.models.request_validation import request_spec, validate
from atoll.request import InferenceRequest as EngineRequest
from atoll.request import Parameter
from atoll.tensor import Array, DataType, Tensor
from atoll.testing.python_answers import Answer, Mailbox, Request
from atoll.testing.python_host import BenchHost, CalledModel, Function, LogLine
from atoll.testing.python_stream import Stream

_VERSION = re.compile(r"[1-9][0-9]*")
Inputs = Mapping[str, Array | Sequence[Any]]


class _ObservedModel(runner.PythonModel):
    """Keeps what the model's code has raised, so that a test's failure shows it."""

    failure: BaseException | None = None

    def fail(self, held: tuple[InferenceRequest, ...], error: BaseException) -> None:
        self.failure = error
        super().fail(held, error)


class PythonModel:
    """A model directory (config.pbtxt, 1/model.py), loaded and initialized; a context manager that finalizes it.

    `version` None takes the highest. `config` is laid over what the directory's configuration says, in the form of
    the configuration's JSON. `models` answer the model's own requests to other models: names to functions that take a
    dict of arrays and give one (or several, for a decoupled model), or to other model directories. `timeout_s` is how
    long a test waits for a response. The model's code runs in the calling thread, in this process; its modules leave
    with it. Raises ConfigError for a configuration with mistakes, InternalError where the model cannot be initialized.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        version: int | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        models: Mapping[str, "Function | PythonModel | str | os.PathLike[str]"] | None = None,
        instance_kind: str = "CPU",
        instance_device_id: int = 0,
        timeout_s: float = 30.0,
    ):
        self._directory = Path(directory).absolute()
        self._timeout_s = timeout_s
        self._owned: list[PythonModel] = []
        self._host: BenchHost | None = None
        self.version, code = _version_directory(self._directory, version)
        called: dict[str, Function | CalledModel] = {}
        try:
            for name, one in (models or {}).items():
                if isinstance(one, (str, os.PathLike)):
                    one = PythonModel(one, timeout_s=timeout_s)
                    self._owned.append(one)
                called[name] = one
            self._host = BenchHost(called)
            self._config = self._complete(code, config)
            self._spec = request_spec(self._config)
            self._check = ResponseCheck(plan_batches(self._config))
            self._types = {one.name: one.data_type for one in self._config.input}
            self.name = self._config.name
            self._model = self._make(code, instance_kind, instance_device_id)
            self._model.initialize()
        except BaseException:
            self._close_rest()
            raise

    def _complete(self, code: Path, changes: Mapping[str, Any] | None) -> ModelConfig:
        assert self._host is not None, "made before. This is a bug"
        written = read_written(self._directory, environment=os.environ)
        config = written.of_version(self.version)
        if changes:
            config = overlay(config, from_json(dict(changes)))
        config = replace(config, name=config.name or self._directory.name, backend=config.backend or "python")
        file = code / (config.default_model_filename or "model.py")
        shown = normalize(config)
        with use_host(self._host, str(code)):
            document = auto_complete(file, to_json(shown), version=self.version)
        config, problems = completed(config, shown, document, file)
        problems = written.locate([*problems, *validate_config(config, config.name)])
        if errors_of(problems):
            raise config_error(errors_of(problems), str(written.file or self._directory))
        return normalize(config)

    def _make(self, code: Path, kind: str, device_id: int) -> _ObservedModel:
        assert self._host is not None, "made before. This is a bug"
        document = to_json(self._config)
        instance = f"{self.name}_0_0"
        return _ObservedModel(
            file=code / (self._config.default_model_filename or "model.py"),
            name=self.name,
            instance=instance,
            version=self.version,
            host=self._host,
            args={
                "model_config": json.dumps(document, separators=(",", ":")),
                "model_instance_kind": kind,
                "model_instance_name": instance,
                "model_instance_device_id": str(device_id),
                "model_repository": str(self._directory),
                "model_version": str(self.version),
                "model_name": self.name,
            },
            config=document,
        )

    # ---- requests

    def execute(
        self,
        inputs: Inputs,
        *,
        outputs: Sequence[str] = (),
        id: str = "",
        parameters: Mapping[str, Parameter] | None = None,
        correlation_id: int | str = 0,
        sequence_start: bool = False,
        sequence_end: bool = False,
        timeout_us: int = 0,
    ) -> Answer:
        """One request by itself; its one response. See `Request` for the arguments.

        Raises InvalidArgumentError where the request does not fit the configuration, or the model gives no or several
        responses, and the error that the model answers with, with what its code has raised as the cause.
        """
        request = Request(
            inputs, outputs, id, parameters or {}, correlation_id, sequence_start, sequence_end, timeout_us
        )
        (answer,) = self.execute_batch([request])
        if answer.error is not None:
            raise answer.error
        return answer

    def execute_batch(self, requests: Sequence[Request | Inputs]) -> list[Answer]:
        """One call of the model's `execute` with these requests; the answer to each, those with errors included.

        A request that the model gives back to be executed again is, until it is answered.
        """
        whole = [one if isinstance(one, Request) else Request(one) for one in requests]
        mailboxes = [Mailbox(one.cancelled) for one in whole]
        self._run(list(zip(whole, mailboxes, strict=True)))
        return [self._only(mailbox) for mailbox in mailboxes]

    def stream(self, request: Request | Inputs) -> Stream:
        """The responses of a decoupled model, as they come."""
        whole = request if isinstance(request, Request) else Request(request)
        mailbox = Mailbox(whole.cancelled)
        self._received(whole, mailbox)  # a request that does not fit is refused here, not in the thread
        return Stream(lambda: self._run([(whole, mailbox)]), mailbox, self._answer, self._timeout_s)

    def _run(self, pairs: list[tuple[Request, Mailbox]]) -> None:
        """Execute, again and again where requests are given back. No request is held while its response is awaited."""
        while pairs:
            self._model.failure = None
            self._model.execute([self._received(request, mailbox) for request, mailbox in pairs])
            for _, mailbox in pairs:
                if not mailbox.wait(self._timeout_s):
                    raise TimeoutError(
                        f"model '{self.name}' has sent no final response for {self._timeout_s} s: it still holds the "
                        "request's response sender"
                    )
            pairs = [(replace(request, sequence_start=False), one) for request, one in pairs if one.rescheduled]
            for _, mailbox in pairs:
                mailbox.reopen()

    def _received(self, request: Request, mailbox: Mailbox) -> InferenceRequest:
        assert self._host is not None, "made before. This is a bug"
        tensors = {name: self._tensor(name, value) for name, value in request.inputs.items()}
        checked = EngineRequest(self.name, tensors, mailbox, id=request.id, output_names=tuple(request.outputs))  # type: ignore[arg-type]  # it is only looked at
        validate(checked, self._spec)
        return InferenceRequest.received(
            list(checked.inputs.values()),
            delivery=mailbox,
            host=self._host,
            model_name=self.name,
            model_version=str(self.version),
            request_id=request.id,
            correlation_id=request.correlation_id,
            flags=int(request.sequence_start) | int(request.sequence_end) << 1,
            timeout=request.timeout_us,
            parameters=dict(request.parameters),
            requested_output_names=tuple(request.outputs) or tuple(one.name for one in self._config.output),
            trace_context=request.trace_context,
            span_recorder=mailbox.recorder,
            decoupled=self._config.decoupled,
        )

    def _tensor(self, name: str, value: Array | Sequence[Any]) -> Tensor:
        tensor = input_tensor(name, value, self._types.get(name))
        if tensor.datatype is DataType.BYTES:
            return tensor
        return Tensor(name, tensor.datatype, tensor.shape, array=np.array(tensor.array()))  # the test keeps its own

    def _only(self, mailbox: Mailbox) -> Answer:
        answers: list[Answer] = []
        while (response := mailbox.next(self._timeout_s)) is not None:
            answers.append(self._answer(response))
        if len(answers) == 1:
            return replace(answers[0], spans=mailbox.spans)
        remedy = "use stream() for a decoupled model" if self._config.decoupled else "it must send one"
        error = InvalidArgumentError(f"model '{self.name}' has sent {len(answers)} responses to one request: {remedy}")
        return Answer({}, {}, error, mailbox.spans)

    def _answer(self, response: InferenceResponse) -> Answer:
        error: AtollError | None
        if response.error_or_none is not None:
            error = response.error_or_none.as_atoll_error()
            if self._model.failure is not None and str(error).startswith("Failed to process the request(s)"):
                error.__cause__ = self._model.failure
            return Answer({}, response.parameter_values, error)
        mistakes = [text for text in map(self._check.mistake, response.tensors) if text]
        if mistakes:
            return Answer({}, response.parameter_values, InternalError("; ".join(mistakes)))
        return Answer({one.name: one.array() for one in response.tensors}, response.parameter_values)

    def serve(self, request: InferenceRequest, mailbox: Mailbox) -> None:
        """Answer a request that another model under test makes to this one (see `models`)."""
        whole = Request(
            {one.name: one.array() for one in request.tensors},
            request.output_names,
            request.request_id(),
            dict(request.parameter_values),
            request.correlation_id(),
            bool(request.flags() & 1),
            bool(request.flags() & 2),
            request.timeout(),
            trace_context=request.trace_context,
        )
        self._run([(whole, mailbox)])

    # ---- what else there is to look at

    @property
    def config(self) -> dict[str, Any]:
        """The complete configuration as JSON, with what `auto_complete_config` has made of it."""
        return to_json(self._config)

    @property
    def decoupled(self) -> bool:
        """Whether the model may answer a request any number of times."""
        return self._config.decoupled

    @property
    def instance(self) -> Any:
        """The TritonPythonModel object itself."""
        return self._model.model

    @property
    def log(self) -> list[LogLine]:
        """What the model has logged so far, `pb_utils.Logger` and tracebacks."""
        assert self._host is not None, "made before. This is a bug"
        return self._host.lines

    def metrics(self) -> str:
        """The model's own metrics, as a server would show them."""
        assert self._host is not None, "made before. This is a bug"
        return self._host.metrics.render()

    def is_ready(self) -> bool:
        """What the model's own `is_ready` says."""
        return self._model.is_ready()

    # ---- the end

    def close(self) -> None:
        """Finalize the model, and those that it was given as directories. Twice is once."""
        self._model.finalize()
        self._close_rest()

    def _close_rest(self) -> None:
        if self._host is not None:
            self._host.close(self._timeout_s)
        for one in self._owned:
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _version_directory(directory: Path, version: int | None) -> tuple[int, Path]:
    if not directory.is_dir():
        raise ConfigError(f"there is no model directory {directory}")
    versions = sorted(
        int(one.name) for one in directory.iterdir() if one.is_dir() and _VERSION.fullmatch(one.name) is not None
    )
    if version is None and versions:
        version = versions[-1]
    if version not in versions:
        found = ", ".join(map(str, versions)) or "none"
        raise ConfigError(
            f"model directory {directory} has no version {version or ''}: found {found}, expected 1/model.py"
        )
    assert version is not None, "it is one of them"
    return version, directory / str(version)
