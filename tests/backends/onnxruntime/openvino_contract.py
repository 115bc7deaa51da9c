"""The suite of all backends with every model accelerated by OpenVINO: test_onnx_openvino.py runs it in a process whose
ONNX Runtime has that.
"""

from dataclasses import replace

from tests.backends.onnxruntime.test_onnxruntime_contract import TestOnnxRuntime as PlainContract

from atoll.backends.api import ModelSource
from atoll.backends.onnxruntime import OnnxRuntimeBackend
from atoll.backends.onnxruntime.model import OnnxModel
from atoll.config.model_config import ModelOptimizationPolicy

ACCELERATORS = ModelOptimizationPolicy.ExecutionAccelerators
OPENVINO = ModelOptimizationPolicy(
    execution_accelerators=ACCELERATORS(cpu_execution_accelerator=(ACCELERATORS.Accelerator(name="openvino"),))
)


class Accelerated(OnnxRuntimeBackend):
    def load(self, source: ModelSource) -> OnnxModel:
        return super().load(replace(source, config=replace(source.config, optimization=OPENVINO)))


class TestAccelerated(PlainContract):
    backend = Accelerated


del PlainContract  # it would be collected here, too
