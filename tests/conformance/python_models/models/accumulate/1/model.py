"""A sequence: answers the sum of what its correlation ID has sent."""

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        def said(name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

        if not said("READY")[0]:
            return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", np.zeros((1, 1), np.float32))])
        value, sequence = said("INPUT0"), int(said("CORRID")[0, 0])
        if said("START")[0]:
            self.sums[sequence] = 0
        self.sums[sequence] = self.sums[sequence] + value
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", self.sums[sequence])])
