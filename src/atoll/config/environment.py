"""Environment variables in a configuration's strings: ${NAME}, ${NAME:-default}, and $${ for a plain ${."""

import re
from collections.abc import Mapping

from atoll.config.problems import Problem, suggestion

MAX_STRING = 1 << 20  # characters of one string after substitution; a real one is a path or a word

_REFERENCE = re.compile(r"\$(\$\{)|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


def substitute(text: str, environment: Mapping[str, str] | None, path: str, problems: list[Problem]) -> str:
    """The text with its variables replaced; what is wrong with them goes to `problems`, under `path`.

    Without an environment nothing is replaced. A default stands for a variable that is unset or empty, as in a shell.
    Values are not looked at again: a ${ in them is only text.
    """
    if environment is None or "${" not in text:
        return text
    pieces: list[str] = []
    end = length = 0
    for match in _REFERENCE.finditer(text):
        escaped, name, default = match.groups()
        pieces.append(text[end : match.start()])
        end = match.end()
        if escaped:
            pieces.append(escaped)
        elif name is None:
            message = "a ${ that names no variable"
            remedy = "Write $${ for a plain ${."
            problems.append(Problem(path, message, _shown(text), "${NAME} or ${NAME:-default}", remedy))
            return text
        elif name in environment and (environment[name] or default is None):
            value = environment[name]
            if not _is_text(value):
                message = f"environment variable '{name}' is not UTF-8 text"
                problems.append(Problem(path, message, ascii(value[:80]), "UTF-8", "Set it to text."))
                return text
            pieces.append(value)
        elif default is not None:
            pieces.append(default)
        else:
            near = suggestion(name, environment)
            remedy = f"Set it, or write ${{{name}:-default}}." + (f" Did you mean ${{{near}}}?" if near else "")
            message = f"environment variable '{name}' is not set"
            problems.append(Problem(path, message, _shown(text), f"a value for {name}", remedy))
            pieces.append("")
        length += len(pieces[-2]) + len(pieces[-1])
        if length > MAX_STRING:
            message = "the text is too long once its variables are replaced"
            problems.append(Problem(path, message, _shown(text), f"at most {MAX_STRING} characters", ""))
            return text
    return "".join([*pieces, text[end:]])


def _is_text(value: str) -> bool:
    """Whether a value is text; bytes that are none come out of os.environ as surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
