"""Answers how many requests it was given at once."""

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            rows = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy().shape
            responses.append(
                pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", np.full(rows, len(requests), np.float32))])
            )
        return responses
