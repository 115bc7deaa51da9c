"""Which Python runs a model's code, and with which packages: chosen, built, unpacked, checked and kept.

The server's own affair: nothing here is imported in a child process.
"""

from atoll.backends.python.environments.choose import interpreter_for
from atoll.backends.python.environments.interpreter import Interpreter

__all__ = ["Interpreter", "interpreter_for"]
