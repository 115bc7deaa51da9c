"""Labels files: names of an output's classes, one a line, for clients that ask for a classification."""

from collections.abc import Mapping
from pathlib import Path

from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem, config_error
from atoll.errors import ConfigError
from atoll.execution.model_file import read_model_file

MAX_LABELS_BYTES = 64 << 20  # ImageNet's 21,841 classes take half a megabyte


def read_labels(config: ModelConfig, model_directory: Path) -> Mapping[str, tuple[str, ...]]:
    """Each output that has a labels file, with its labels: index i names class i, "" where the line is empty.

    Lines end at a line feed, and nothing else is taken off them. Bytes that are not UTF-8 are kept as lone surrogates
    (surrogateescape). Raises ConfigError with one problem for each file that cannot be read.
    """
    labels: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for index, output in enumerate(config.output):
        if not output.label_filename:
            continue
        try:
            data = read_model_file(model_directory, output.label_filename, MAX_LABELS_BYTES)
        except ConfigError as error:
            remedy = "Put the file, one label a line, into the model's folder, beside config.pbtxt."
            problems.append(Problem(f"output[{index}].label_filename", str(error), "", "", remedy))
            continue
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        if not lines[-1]:
            del lines[-1]  # behind the last line feed
        labels[output.name] = tuple(lines)
    if problems:
        raise config_error(problems, f"model '{config.name}'")
    return labels
