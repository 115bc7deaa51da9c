"""Takes as many seconds as INPUT0 says, and ends early where the request is cancelled."""

import time

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        end = time.monotonic() + float(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()[0])
        while time.monotonic() < end:
            if request.is_cancelled():
                print("SLOW saw the cancellation", flush=True)
                error = pb_utils.TritonError("withdrawn", pb_utils.TritonError.CANCELLED)
                return pb_utils.InferenceResponse(error=error)
            time.sleep(0.01)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", np.zeros(1, np.float32))])
