"""For authors of models and backends: a Python model run in a test without a server, an instance that does as told, and
the suite that every backend passes (backend_contract, which needs pytest).
"""

from atoll.request import ModelSpan
from atoll.testing.python_answers import Answer, Request
from atoll.testing.python_host import LogLine
from atoll.testing.python_model import PythonModel
from atoll.testing.python_stream import Stream

__all__ = ["Answer", "LogLine", "ModelSpan", "PythonModel", "Request", "Stream"]
