"""The backend "tabular": finds models of scikit-learn, XGBoost and LightGBM, and hands out instances."""

from collections.abc import Callable, Sequence

from atoll.backends.api import Capabilities, ModelSource, Placement
from atoll.backends.tabular.boosters import load_lightgbm, load_xgboost
from atoll.backends.tabular.instance import TabularInstance
from atoll.backends.tabular.model import TabularTensors
from atoll.backends.tabular.model_file import find_model_file, format_of, unreadable
from atoll.backends.tabular.outputs import Output
from atoll.backends.tabular.predictor import Predictor
from atoll.backends.tabular.rows import Rows
from atoll.backends.tabular.settings import TabularSettings, tabular_settings
from atoll.backends.tabular.sklearn_files import load_pickle, load_skops
from atoll.config.signature import ModelSignature
from atoll.errors import ConfigError

DEFAULT_MODEL_FILENAME = "model.skops"
_LOADERS: dict[str, Callable[..., Predictor]] = {
    "skops": load_skops,
    "pickle": load_pickle,
    "xgboost": load_xgboost,
    "lightgbm": load_lightgbm,
}


class TabularBackend:
    """Serves what `model_file.format_of` tells apart; the parameters are in `settings`."""

    name = "tabular"
    capabilities = Capabilities()
    default_model_filename = DEFAULT_MODEL_FILENAME
    default_instance_count = 1

    def signature(self, source: ModelSource) -> ModelSignature:
        """What model and configuration say together. Raises ConfigError naming file and cause."""
        return _tensors(source).signature()

    def load(self, source: ModelSource) -> "TabularModel":
        """Load the model. Raises ConfigError naming the file, or the key and what it may be."""
        tensors = _tensors(source)
        return TabularModel(
            tensors.signature(), tensors.predictor, tensors.rows, tensors.outputs, tensors.bounded, tensors.one_row
        )


def load_predictor(source: ModelSource, settings: TabularSettings, default_filename: str) -> Predictor:
    """The version's model. Raises ConfigError naming the file and the cause."""
    path = find_model_file(source, default_filename)
    kind = format_of(path)
    if not kind:
        raise unreadable(
            source, path, "scikit-learn, XGBoost or LightGBM", "it is none of skops, XGBoost's or LightGBM's files"
        )
    return _LOADERS[kind](source, path, settings)


def _tensors(source: ModelSource) -> TabularTensors:
    settings = tabular_settings(source)
    return TabularTensors(source, load_predictor(source, settings, DEFAULT_MODEL_FILENAME), settings)


class TabularModel:
    """One model in memory, which all instances share: prediction does not change it."""

    def __init__(
        self,
        signature: ModelSignature,
        predictor: Predictor,
        rows: Rows,
        outputs: Sequence[Output],
        bounded: bool,
        one_row: bool = False,
    ):
        self.signature = signature
        self._parts: tuple[Predictor, Rows, Sequence[Output]] | None = (predictor, rows, outputs)
        self.bounded = bounded
        self._one_row = one_row

    def instance(self, placement: Placement) -> TabularInstance:
        """A context on the CPU. Raises ConfigError for any other placement."""
        if placement.kind == "KIND_GPU":
            raise ConfigError(
                f"instance '{placement.name}': tabular models run on the CPU only; use kind: KIND_CPU in its "
                "instance_group"
            )
        assert self._parts is not None, "a closed model makes no instances. This is a bug"
        return TabularInstance(*self._parts, one_row=self._one_row)

    def close(self) -> None:
        """Free the model."""
        self._parts = None
