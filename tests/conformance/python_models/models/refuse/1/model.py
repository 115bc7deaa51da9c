"""Answers with an error of the code that INPUT0 says."""

import triton_python_backend_utils as pb_utils

CODES = ("UNKNOWN", "INTERNAL", "NOT_FOUND", "INVALID_ARG", "UNAVAILABLE", "UNSUPPORTED", "ALREADY_EXISTS", "CANCELLED")


class TritonPythonModel:
    def execute(self, requests):
        return [self.refusal(request) for request in requests]

    def refusal(self, request):
        code = CODES[int(pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()[0])]
        error = pb_utils.TritonError(f"told to fail with {code}", getattr(pb_utils.TritonError, code))
        return pb_utils.InferenceResponse(error=error)
