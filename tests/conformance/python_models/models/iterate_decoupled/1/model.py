"""Sends a response each time it is executed, as often as INPUT0 says."""

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.rounds = {}

    def execute(self, requests):
        for request in requests:
            self.answer(request, request.get_response_sender())
        return

    def answer(self, request, sender):
        key = request.correlation_id()
        done = self.rounds.pop(key, 0) + 1
        wanted = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", np.full((1, 1), done, np.float32))]))
        if done < wanted[0, 0]:
            self.rounds[key] = done
            request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
        else:
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
