"""One configuration file, in any of its three forms: found, read within bounds, and turned into records."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atoll.config.document_reader import read_document
from atoll.config.documents import Document, DocumentError, read_json
from atoll.config.json_form import MAX_TEXT
from atoll.config.places import Reading
from atoll.config.problems import Problem, config_error
from atoll.config.text_reader import read_text
from atoll.config.textproto import decode, text_error
from atoll.errors import ConfigError

FORMS = (".pbtxt", ".json", ".yaml", ".yml")


def file_problem(
    path: Path, message: str, found: str, expected: str, remedy: str = "", warning: bool = False
) -> Problem:
    """What is wrong with a file as a whole."""
    return Problem("", message, found, expected, remedy, warning, file=str(path))


def is_there(path: Path) -> bool:
    """Whether there is anything of that name, be it a link to nothing: a file that cannot be read is not left out."""
    return os.path.lexists(path)


def read_file(path: Path, record: type[Any], environment: Mapping[str, str] | None) -> Reading:
    """Reads a message of the schema from a file, in the form that its name says. Never raises for what is in it."""
    data = _bytes_of(path)
    if isinstance(data, Problem):
        return Reading(None, {}, [data])
    file = str(path)
    try:
        text = decode(data, file)
    except ConfigError as error:
        return Reading(None, {}, list(error.problems))
    if path.suffix == ".pbtxt":
        return read_text(text, record, file, environment)
    form = "JSON" if path.suffix == ".json" else "YAML"
    try:
        document = read_json(text, file) if form == "JSON" else _yaml(text, file)
    except DocumentError as error:
        return Reading(None, {}, [error.problem])
    if document.value is None and form == "YAML":  # nothing but comments
        document = Document({}, {})
    return read_document(document, record, form=form, environment=environment, file=file)


def _yaml(text: str, file: str) -> Document:
    from atoll.config.yaml_document import read_yaml  # the library is imported by those who use it

    return read_yaml(text, file)


def _bytes_of(path: Path) -> bytes | Problem:
    try:
        # a pipe would wait for somebody to write
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return file_problem(path, "cannot be read", "a folder or a device", "a file")
            return file.read(MAX_TEXT + 1)
    except IsADirectoryError:
        return file_problem(path, "cannot be read", "a folder", "a file")
    except OSError as error:
        return file_problem(path, f"cannot be read: {error.strerror}", "", "a readable file")


def read_error(problems: Sequence[Problem], file: Path) -> ConfigError:
    """All that is wrong with a configuration whose main file is this one."""
    if file.suffix == ".pbtxt":
        return text_error(problems, str(file))
    return config_error(problems, str(file))
