"""Two outputs: the sum and the difference of two inputs."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            first = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            second = pb_utils.get_input_tensor_by_name(request, "INPUT1").as_numpy()
            total = pb_utils.Tensor("OUTPUT0", first + second)
            difference = pb_utils.Tensor("OUTPUT1", first - second)
            responses.append(pb_utils.InferenceResponse(output_tensors=[total, difference]))
        return responses
