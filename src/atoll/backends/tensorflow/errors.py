"""TensorFlow's errors in a few words, and which of them are a request's fault."""

import re

from atoll.backends.error_text import bounded
from atoll.errors import AtollError, InternalError, InvalidArgumentError

# From here on come the places in the graph and in the exporting program that an error passed through.
_TRACE = re.compile(r"\n?\s*\[\[(\{\{)?|\n\s*Original stack trace|\n\s*Errors may have originated")
_LOOKED_AT = 20_000  # characters: a message may quote a batch
_OF_VALUES = ("InvalidArgumentError", "UnicodeDecodeError")
_NODE = re.compile(r"\{\{node ([^}]+)\}\}")


def error_text(error: BaseException) -> str:
    """The message without its stack traces, with the node where that is told: on one line, and never a long one."""
    if isinstance(error, UnicodeDecodeError):  # the binding's, of a message that quotes a value
        whole = error.object[:_LOOKED_AT].decode("utf-8", "backslashreplace")
    else:
        whole = str(getattr(error, "message", "") or error)[:_LOOKED_AT]
    text = " ".join(_TRACE.split(whole, maxsplit=1)[0].split()) or type(error).__name__
    text = bounded(text)
    node = _NODE.search(whole)
    return f"{text} (node {node[1][:100]})" if node and node[1] not in text else text


def execution_error(error: Exception, *, blame_values: bool) -> AtollError:
    """What a request gets whose batch failed inside TensorFlow.

    `blame_values`: an INVALID_ARGUMENT of TensorFlow's is that of the inputs' values, such as an index out of range or
    a text that is no number. Not so where the model remembers things: the batch may have changed them before it failed.
    """
    if isinstance(error, AtollError):
        return error
    if blame_values and type(error).__name__ in _OF_VALUES:
        return InvalidArgumentError(f"tensorflow: {error_text(error)}")
    return InternalError(f"tensorflow: {type(error).__name__}: {error_text(error)}")
