"""Answers what it was told besides tensors: parameters, names, ids."""

import json

import numpy as np

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        known = {
            "request_id": request.request_id(),
            "correlation_id": request.correlation_id(),
            "flags": request.flags(),
            "timeout": request.timeout(),
            "parameters": json.loads(request.parameters()),
            "requested": sorted(request.requested_output_names()),
        }
        text = np.array([json.dumps(known, sort_keys=True).encode()], np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("RESULT", text), pb_utils.Tensor("MORE", text[:0])])
