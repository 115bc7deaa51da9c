"""Answers each request with what the model sees of the whole batch."""

import json

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        seen = json.dumps([[*controls(one), one.correlation_id(), one.flags(), one.request_id()] for one in requests])
        output = np.full((1, 1), seen.encode(), np.object_)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", output)]) for _ in requests]


def controls(request):
    for name in ("START", "READY", "END", "CORRID"):
        array = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
        yield [str(array.dtype), list(array.shape), array.ravel().tolist()]
