"""Calls two other models, one after the other."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(pb_utils.get_input_tensor_by_name(request, "INPUT0")) for request in requests]

    def answer(self, tensor):
        for name in ("python_scale", "python_shift"):
            request = pb_utils.InferenceRequest(
                model_name=name,
                inputs=[pb_utils.Tensor("INPUT0", tensor.as_numpy())],
                requested_output_names=["OUTPUT0"],
            )
            response = request.exec()
            if response.has_error():
                return pb_utils.InferenceResponse(error=response.error())
            tensor = response.output_tensors()[0]
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", tensor.as_numpy())])
