"""Looks at what it was given."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        config = auto_complete_model_config
        size = int(config.as_dict()["parameters"]["size"]["string_value"])
        config.add_input({"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [size]})
        config.add_output({"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [size]})
        return config

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUTPUT0", pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy())]
            )
            for request in requests
        ]
