"""Decoupled: as many responses as INPUT0 has elements, one element each."""

import threading

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            thread = threading.Thread(target=self.send, args=(request.get_response_sender(), values))
            thread.start()
        return

    def send(self, sender, values):
        for number in range(len(values)):
            tensor = pb_utils.Tensor("OUTPUT0", values[number : number + 1])
            sender.send(pb_utils.InferenceResponse([tensor]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
