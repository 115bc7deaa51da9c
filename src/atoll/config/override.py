"""The configuration that a load request brings, in place of the model's own."""

from dataclasses import replace

from atoll.config.document_reader import read_document
from atoll.config.documents import DocumentError, read_json
from atoll.config.json_form import MAX_TEXT
from atoll.config.model_config import ModelConfig
from atoll.config.problems import Problem, config_error

_SOURCE = "Invalid config override"


def read_override(text: str) -> ModelConfig:
    """The configuration in JSON text. It comes from a client: ${NAME} in it stays as it is.

    Raises ConfigError with every problem; those of the JSON itself name line and column.
    """
    if len(text) > MAX_TEXT:
        problem = Problem("", "the text is too big", f"{len(text)} characters", f"at most {MAX_TEXT}", "")
        raise config_error([problem], _SOURCE)
    try:
        document = read_json(text, "")
    except DocumentError as error:
        where = f"line {error.problem.line}, column {error.problem.column}"
        problem = replace(error.problem, message=f"{error.problem.message} ({where})", line=0, column=0)
        raise config_error([problem], _SOURCE) from None
    reading = read_document(document, ModelConfig)
    if reading.problems:
        raise config_error([replace(one, line=0, column=0) for one in reading.problems], _SOURCE)
    assert isinstance(reading.record, ModelConfig)
    return reading.record
