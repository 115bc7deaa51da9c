"""Which backend a configuration means, and the file that this backend loads by default."""

from collections.abc import Collection, Iterable

from atoll.config.model_config import ModelConfig
from atoll.config.problems import suggestion

ENSEMBLE = "ensemble"

# Platform -> backend. The first part is the real server's own; it refuses the short forms below, which people write.
_BACKENDS = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow",
    "tensorflow_graphdef": "tensorflow",
    "tensorrt_plan": "tensorrt",
    "onnxruntime": "onnxruntime",
    "onnx": "onnxruntime",
    "pytorch": "pytorch",
    "torch": "pytorch",
    "tensorflow": "tensorflow",
    "tensorrt": "tensorrt",
    "openvino": "openvino",
    "python": "python",
    "jax": "jax",
    "tabular": "tabular",
    "fil": "fil",
}

# Backend -> the platform that the real server reports for it; the others have none.
_PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "pytorch": "pytorch_libtorch", "tensorrt": "tensorrt_plan"}

# Backend -> the files (for some formats folders) that it loads: its default first.
_FILENAMES = {
    "tensorflow": ("model.savedmodel", "model.graphdef"),
    "tensorrt": ("model.plan",),
    "onnxruntime": ("model.onnx",),
    "openvino": ("model.xml",),
    "pytorch": ("model.pt", "model.pt2"),
    "python": ("model.py",),
    "dali": ("model.dali",),
    "jax": ("model.jax",),
    "tabular": (
        "model.skops",
        "model.joblib",
        "model.ubj",
        "xgboost.ubj",
        "xgboost.json",
        "xgboost.model",
        "model.json",
        "model.txt",
        "model.pkl",
    ),
    "fil": ("xgboost.model", "xgboost.json", "xgboost.ubj", "model.txt", "checkpoint.tl"),
}

FILENAMES_OF_ANY_KIND = ("model.json", "model.txt", "model.pkl")  # of a backend's, but other files have them, too
_BACKEND_OF_FILE = {"saved_model.pb": "tensorflow"}  # a SavedModel that is the version's folder itself
for _backend, _names in _FILENAMES.items():
    for _name in _names:
        if _name not in FILENAMES_OF_ANY_KIND:
            _BACKEND_OF_FILE.setdefault(_name, _backend)


def backend_of(config: ModelConfig) -> str:
    """The backend that loads the model: `backend` where it is given, else that of `platform`; "" where neither tells.

    An ensemble has none.
    """
    return config.backend or _BACKENDS.get(config.platform, "")


def is_ensemble(config: ModelConfig) -> bool:
    """Whether the model is made of other models."""
    return config.platform == ENSEMBLE and not config.backend


def platform_of(config: ModelConfig) -> str:
    """The platform to report: the configured one under its full name, else the backend's own, else ""."""
    backend = backend_of(config)
    if config.platform in ("", "tensorflow", *_FILENAMES, "onnx", "torch"):
        return _PLATFORMS.get(backend, "")
    return config.platform


def is_platform(name: str) -> bool:
    """Whether a platform of that name is known."""
    return name in _BACKENDS or name == ENSEMBLE


def near_platform(name: str) -> str | None:
    """The platform whose name a misspelt or shortened one most likely stands for."""
    whole = next((one for one in _BACKENDS if one.endswith(f"_{name.lower()}")), None)
    if whole is not None:
        return whole
    return suggestion(name, [*_BACKENDS, ENSEMBLE])


def default_model_filename(backend: str, platform: str = "") -> str:
    """The file (for some formats a folder) inside a version's folder that the backend loads unless told otherwise.

    For a backend that is not known here, that is model.BACKEND.
    """
    if platform == "tensorflow_graphdef":
        return "model.graphdef"
    return _FILENAMES.get(backend, (f"model.{backend}",))[0] if backend else ""


def model_filename(backend: str, platform: str, filenames: Collection[str]) -> str:
    """Of those in a version's folder, the file that the backend loads; "" where that is its default one, or where the
    platform names the format, or where there is none.
    """
    if default_model_filename(backend, platform) in filenames or platform.startswith("tensorflow_"):
        return ""
    return next((one for one in _FILENAMES.get(backend, ()) if one in filenames), "")


def guess_backend(filenames: Iterable[str]) -> str:
    """The backend one of whose files is among those of a version's folder, "" where none is.

    Of more than one it is the first in this order, the real server's: TensorFlow, TensorRT, ONNX Runtime, OpenVINO,
    PyTorch, Python; then those that the real server does not know.
    """
    found = {_BACKEND_OF_FILE[one] for one in filenames if one in _BACKEND_OF_FILE}
    return next((backend for backend in _FILENAMES if backend in found), "")
