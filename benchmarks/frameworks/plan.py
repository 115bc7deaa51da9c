"""Which nets are served in which formats, which two run at once, and the ratio to reach: data only."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.plan import Case, Tensor

CLIENTS = (8, 32)
LARGEST_BATCH = 32
TARGET = 0.9
TARGET_NET = "resnet18"


@dataclass(frozen=True, slots=True)
class Net:
    """`output` is the first output. `stretch` lengthens its measurements, as in benchmarks.plan.Case."""

    name: str
    input: Tensor
    output: Tensor
    stretch: int = 1
    vocabulary: int | None = None


NETS = {
    "digits": Net("digits", Tensor("PIXELS", "FP32", (1, 8, 8)), Tensor("PROBABILITIES", "FP32", (10,))),
    "resnet18": Net("resnet18", Tensor("INPUT", "FP32", (3, 224, 224)), Tensor("OUTPUT", "FP32", (1000,)), stretch=5),
    # Trees see the digits' pixels as columns.
    "trees": Net("trees", Tensor("PIXELS", "FP32", (64,)), Tensor("PROBABILITIES", "FP32", (10,))),
    "bert": Net(
        "bert",
        Tensor("input_ids", "INT64", (64,)),
        Tensor("last_hidden_state", "FP32", (64, 256)),
        stretch=5,
        vocabulary=8192,
    ),
}


@dataclass(frozen=True, slots=True)
class Format:
    """How a net is saved and run. `file` is its name in the version's folder. All of a framework share a server."""

    name: str
    framework: str
    backend: str
    file: str
    nets: tuple[str, ...] = ("digits", "resnet18")
    exported_as: str = ""  # another format that has the same file
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the model, and of the framework's own loop


_ONE_THREAD = {"threads": "1"}

FORMATS = (
    Format("onnx", "onnxruntime", "onnxruntime", "model.onnx"),
    Format("torchscript", "pytorch", "pytorch", "model.pt"),
    Format("torch_export", "pytorch", "pytorch", "model.pt2"),
    Format("aotinductor", "pytorch", "pytorch", "model.pt2"),
    Format("savedmodel", "tensorflow", "tensorflow", "model.savedmodel"),
    # In bfloat16, its default, where the processor has it; and in the weights' own precision, as the others compute.
    Format("openvino", "openvino", "openvino", "model.xml"),
    Format(
        "openvino_f32",
        "openvino",
        "openvino",
        "model.xml",
        exported_as="openvino",
        parameters={"INFERENCE_PRECISION_HINT": "f32"},
    ),
    Format("jax", "jax", "jax", "model.jax"),
    Format("xgboost", "trees", "tabular", "xgboost.ubj", ("trees",), parameters=_ONE_THREAD),
    Format("lightgbm", "trees", "tabular", "model.txt", ("trees",), parameters=_ONE_THREAD),
)
FRAMEWORKS = tuple(dict.fromkeys(one.framework for one in FORMATS))


@dataclass(frozen=True, slots=True)
class Subject:
    """One net in one format: a model on the framework's server."""

    net: Net
    format: Format

    @property
    def model(self) -> str:
        """Its name on the server."""
        return f"{self.net.name}_{self.format.name}"

    @property
    def case(self) -> Case:
        """As the load generator takes it."""
        net = self.net
        return Case("atoll", self.model, (net.input,), stretch=net.stretch, vocabulary=net.vocabulary)


def subjects(frameworks: Collection[str], nets: Collection[str]) -> list[Subject]:
    """What is measured, the formats of a net beside each other. The trees come with the digits."""
    wanted = {*nets, *(("trees",) if "digits" in nets else ())}
    return [
        Subject(net, one)
        for net in NETS.values()
        for one in FORMATS
        if net.name in wanted and net.name in one.nets and one.framework in frameworks
    ]


def subject(net: str, format_name: str) -> Subject:
    """One by its names."""
    return Subject(NETS[net], next(one for one in FORMATS if one.name == format_name))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models in one server: each by itself, and then both at once."""

    first: Subject
    second: Subject


PAIRS = (
    Pair(subject("resnet18", "onnx"), subject("bert", "onnx")),
    Pair(subject("resnet18", "torchscript"), subject("bert", "onnx")),
    Pair(subject("resnet18", "openvino_f32"), subject("digits", "savedmodel")),
)


def pairs(frameworks: Collection[str]) -> list[Pair]:
    """Those whose frameworks are both wanted."""
    return [pair for pair in PAIRS if {pair.first.format.framework, pair.second.format.framework} <= {*frameworks}]


def order(found: list[Subject], clients: Collection[int], rounds: int) -> Iterator[tuple[int, int, Subject]]:
    """Round, clients, subject. Every second round runs backwards, so that a machine that changes favours nobody."""
    for number in range(1, rounds + 1):
        for count in clients:
            for one in found if number % 2 else reversed(found):
                yield number, count, one
