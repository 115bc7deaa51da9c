"""The digit models of both example repositories: whose weights each has, and what it needs to be served."""

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True, slots=True)
class DigitModel:
    """`dims` are those of PIXELS, after the batch. `weights_of` is the model that has the same weights under ONNX
    Runtime: itself, or the one whose answers this one must give; "" for trees. `extra` is what brings `modules`.
    """

    name: str
    framework: str
    dims: tuple[int, ...]
    weights_of: str
    modules: tuple[str, ...] = ()
    extra: str = ""

    @property
    def installed(self) -> bool:
        """Whether what it needs can be imported; nothing is."""
        return all(find_spec(module) is not None for module in self.modules)


_IMAGE, _ROW = (1, 8, 8), (64,)
_CNN, _MLP = "digits_cnn", "digits_mlp"

# What every Atoll with ONNX Runtime serves: examples/models.
REFERENCES = (
    DigitModel(_CNN, "ONNX Runtime", _IMAGE, _CNN),
    DigitModel(_MLP, "ONNX Runtime", _ROW, _MLP),
)

# examples/frameworks.
OTHERS = (
    DigitModel("digits_torchscript", "PyTorch, TorchScript", _IMAGE, _CNN, ("torch",), "pytorch"),
    DigitModel("digits_torch_export", "PyTorch, torch.export", _IMAGE, _CNN, ("torch",), "pytorch"),
    DigitModel("digits_torch_eager", "PyTorch, model.py", _IMAGE, _CNN, ("torch",), "pytorch"),
    DigitModel("digits_savedmodel", "TensorFlow, SavedModel", _IMAGE, _CNN, ("tensorflow",), "tensorflow"),
    DigitModel("digits_graphdef", "TensorFlow, GraphDef", _IMAGE, _CNN, ("tensorflow",), "tensorflow"),
    DigitModel("digits_openvino", "OpenVINO", _IMAGE, _CNN, ("openvino",), "openvino"),
    DigitModel("digits_jax", "JAX", _IMAGE, _CNN, ("jax",), "jax"),
    DigitModel("digits_sklearn", "scikit-learn", _ROW, _MLP, ("sklearn", "skops"), "tabular"),
    DigitModel("digits_xgboost", "XGBoost", _ROW, "", ("xgboost",), "tabular"),
    DigitModel("digits_lightgbm", "LightGBM", _ROW, "", ("lightgbm",), "tabular"),
)


def left_out_line(left_out: list[DigitModel]) -> str:
    """Which frameworks are missing, and the command that installs them."""
    frameworks = dict.fromkeys(model.framework.partition(",")[0] for model in left_out)
    extras = dict.fromkeys(model.extra for model in left_out)
    return f"Not installed here: {', '.join(frameworks)}. To serve them too:  pip install 'atoll[{','.join(extras)}]'"
