"""The same as `lab`, decoupled: the code may send responses of its own through `sender`; `result` comes last."""

# What the code that requests bring may use.
import asyncio  # noqa: F401
import os  # noqa: F401
import sys  # noqa: F401
import threading  # noqa: F401
import time  # noqa: F401

import numpy as np

import triton_python_backend_utils as pb_utils


def described(value):
    """As text, alike wherever it is run."""
    if isinstance(value, np.ndarray):
        return f"array({value.tolist()!r}, {value.dtype}, {value.shape})"
    if isinstance(value, pb_utils.Tensor):
        return f"Tensor({value.name()!r}, {described(value.as_numpy())})"
    if isinstance(value, TypeError):
        return "TypeError"
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(described(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {described(item)}" for key, item in value.items()) + "}"
    if isinstance(value, pb_utils.InferenceResponse):
        if value.has_error():
            return f"Error({value.error().code()}, {value.error().message()!r})"
        return f"Response({described(value.output_tensors())})"
    return repr(value)


def raised(action, *arguments, **options):
    """What calling `action` raises, or what it returns."""
    try:
        return action(*arguments, **options)
    except BaseException as error:
        return error


def request_to(model, values=(1.0, 2.0), **options):
    """A request to one of the models with INPUT0 and OUTPUT0."""
    tensor = pb_utils.Tensor("INPUT0", np.array(values, np.float32))
    options.setdefault("requested_output_names", ["OUTPUT0"])
    return pb_utils.InferenceRequest(model_name=model, inputs=[tensor], **options)


class TritonPythonModel:
    def initialize(self, args):
        self.args = args
        self.kept = {}

    def execute(self, requests):
        for request in requests:
            self.answer(request, request.get_response_sender())
        return

    def answer(self, request, sender):
        code = pb_utils.get_input_tensor_by_name(request, "CODE").as_numpy()[0].decode()
        scope = {**globals(), "request": request, "sender": sender, "model": self, "result": None}
        try:
            exec(compile(code, "code", "exec"), scope)
            result = scope["result"]
        except BaseException as error:
            result = error
        if scope.get("finished"):
            return
        sender.send(response_of(result), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def response_of(result):
    return pb_utils.InferenceResponse([pb_utils.Tensor("RESULT", np.array([described(result).encode()], np.object_))])
