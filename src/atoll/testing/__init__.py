"""For authors of models and backends: a Python model run in a test without a server, a backend that does as told."""

from atoll.testing.python_answers import Answer, Request
from atoll.testing.python_host import LogLine
from atoll.testing.python_model import PythonModel
from atoll.testing.python_stream import Stream

__all__ = ["Answer", "LogLine", "PythonModel", "Request", "Stream"]
