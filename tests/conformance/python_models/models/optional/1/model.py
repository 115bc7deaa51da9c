"""Answers which of its inputs are there; the second one need not be."""

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        names = [tensor.name() for tensor in request.inputs()]
        missing = pb_utils.get_input_tensor_by_name(request, "INPUT1") is None
        text = f"{sorted(names)}, {'missing' if missing else 'there'}".encode()
        return pb_utils.InferenceResponse([pb_utils.Tensor("RESULT", np.array([text], np.object_))])
