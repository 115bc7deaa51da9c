"""Models that go wrong, as their authors' do: what stands in model.py, by name; and how their folders are written."""

from pathlib import Path

IMPORTS = """import ctypes
import os
import signal
import sys
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils


def answer(value=None, name="OUTPUT0"):
    array = np.zeros(2, np.float32) if value is None else value
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array)])


"""
CLASS = "class TritonPythonModel:\n"
EXECUTE = """
    def execute(self, requests):
        return [answer() for _ in requests]
"""
CONFIG = """backend: "python"
max_batch_size: 0
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
instance_group [ { kind: KIND_CPU count: 1 } ]
"""
DECOUPLED = "model_transaction_policy { decoupled: true }\n"


def _method(name: str, *body: str, arguments: str = "self, requests", before: str = "") -> str:
    lines = [f"{before}    def {name}({arguments}):", *(f"        {line}" for line in body)]
    return "\n".join(lines) + "\n"


def _execute(*body: str) -> str:
    return IMPORTS + CLASS + _method("execute", *body)


def _initialize(*body: str) -> str:
    return IMPORTS + CLASS + _method("initialize", *body, arguments="self, args") + EXECUTE


def _auto_complete(*body: str, arguments: str = "auto_complete_model_config", static: bool = True) -> str:
    before = "    @staticmethod\n" if static else ""
    return IMPORTS + CLASS + _method("auto_complete_config", *body, arguments=arguments, before=before) + EXECUTE


AT_LOAD: dict[str, str | None] = {
    "no_file": None,
    "empty_file": "",
    "syntax_error": IMPORTS + CLASS + "    def execute(self, requests)\n        return []\n",
    "wrong_indentation": IMPORTS + CLASS + "    def execute(self, requests):\n    return []\n",
    "no_class": IMPORTS + "class Model:\n" + EXECUTE,
    "class_is_no_class": IMPORTS + "TritonPythonModel = 5\n",
    "no_execute": IMPORTS + CLASS + "    pass\n",
    "execute_is_a_value": IMPORTS + CLASS + "    execute = 5\n",
    "execute_without_requests": IMPORTS + CLASS + "    def execute(self):\n        return []\n",
    "missing_import": "import a_module_that_is_not_there\n" + IMPORTS + CLASS + EXECUTE,
    "missing_name": "from json import a_name_that_is_not_there\n" + IMPORTS + CLASS + EXECUTE,
    "module_raises": IMPORTS + 'raise ValueError("told to fail at import")\n',
    "module_exits": IMPORTS + "sys.exit(3)\n",
    "module_ends_the_process": IMPORTS + "os._exit(3)\n",
    "constructor_raises": IMPORTS
    + CLASS
    + _method("__init__", 'raise ValueError("told to fail in __init__")', arguments="self")
    + EXECUTE,
    "constructor_with_arguments": IMPORTS + CLASS + _method("__init__", "pass", arguments="self, config") + EXECUTE,
    "initialize_raises": _initialize('raise ValueError("told to fail in initialize")'),
    "initialize_raises_model_exception": _initialize('raise pb_utils.TritonModelException("told to fail")'),
    "initialize_raises_deeper": IMPORTS
    + "def deeper():\n    return {}['key']\n\n\n"
    + CLASS
    + _method("initialize", "deeper()", arguments="self, args")
    + EXECUTE,
    "initialize_raises_from": _initialize(
        "try:", "    int('x')", "except ValueError as error:", '    raise RuntimeError("outer") from error'
    ),
    "initialize_raises_many_lines": _initialize('raise ValueError("first line\\nsecond \\u00e9\\n\\nlast")'),
    "initialize_raises_exception_without_text": _initialize("raise ValueError"),
    "initialize_without_arguments": IMPORTS + CLASS + _method("initialize", "pass", arguments="self") + EXECUTE,
    "initialize_returns": _initialize("return 5"),
    "initialize_exits": _initialize("sys.exit(3)"),
    "initialize_ends_the_process": _initialize("os._exit(3)"),
    "initialize_segfaults": _initialize("ctypes.string_at(0)"),
    "auto_complete_raises": _auto_complete('raise ValueError("told to fail in auto_complete_config")'),
    "auto_complete_returns_none": _auto_complete("return None"),
    "auto_complete_returns_a_dict": _auto_complete("return {}"),
    "auto_complete_is_no_static_method": _auto_complete("return config", arguments="self, config", static=False),
    "auto_complete_other_output": _auto_complete(
        "config = auto_complete_model_config",
        'config.add_output({"name": "OUTPUT0", "data_type": "TYPE_INT32", "dims": [-1]})',
        "return config",
    ),
    "auto_complete_other_dims": _auto_complete(
        "config = auto_complete_model_config",
        'config.add_input({"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [3]})',
        "return config",
    ),
    "auto_complete_unknown_property": _auto_complete(
        "config = auto_complete_model_config",
        'config.add_input({"name": "INPUT1", "data_type": "TYPE_FP32", "dims": [3], "label": "x"})',
        "return config",
    ),
    "auto_complete_wrong_type": _auto_complete(
        "config = auto_complete_model_config",
        'config.add_input({"name": "INPUT1", "data_type": "FP32", "dims": [3]})',
        "return config",
    ),
    "auto_complete_ends_the_process": _auto_complete("os._exit(3)"),
}
"""What never gets to a request. None: there is no file at all."""

AT_EXECUTE: dict[str, str] = {
    "execute_returns_none": _execute("return None"),
    "execute_returns_nothing": _execute("pass"),
    "execute_returns_a_tuple": _execute("return tuple(answer() for _ in requests)"),
    "execute_returns_a_response": _execute("return answer()"),
    "execute_returns_a_dict": _execute('return {"OUTPUT0": np.zeros(2, np.float32)}'),
    "execute_returns_an_array": _execute("return np.zeros(2, np.float32)"),
    "execute_is_a_generator": _execute("yield answer()"),
    "execute_returns_too_few": _execute("return []"),
    "execute_returns_too_many": _execute("return [answer(), answer()]"),
    "execute_returns_a_list_of_none": _execute("return [None]"),
    "execute_returns_a_list_of_text": _execute('return ["OUTPUT0"]'),
    "execute_returns_a_list_of_tensors": _execute('return [pb_utils.Tensor("OUTPUT0", np.zeros(2, np.float32))]'),
    "execute_returns_a_list_of_lists": _execute("return [[answer()]]"),
    "response_without_outputs": _execute("return [pb_utils.InferenceResponse([])]"),
    "response_of_none": _execute("return [pb_utils.InferenceResponse(None)]"),
    "response_of_a_tensor": _execute(
        'return [pb_utils.InferenceResponse(pb_utils.Tensor("OUTPUT0", np.zeros(2, np.float32)))]'
    ),
    "response_of_an_array": _execute("return [pb_utils.InferenceResponse([np.zeros(2, np.float32)])]"),
    "error_is_text": _execute('return [pb_utils.InferenceResponse([], "told to fail")]'),
    "other_output_name": _execute('return [answer(name="OTHER")]'),
    "other_output_type": _execute("return [answer(np.zeros(2, np.int64))]"),
    "other_output_dimensions": _execute("return [answer(np.zeros((2, 3), np.float32))]"),
    "output_of_no_dimensions": _execute("return [answer(np.zeros((), np.float32))]"),
    "output_is_a_scalar": _execute("return [answer(np.float32(1.5))]"),
    "output_is_a_list": _execute("return [answer([1.0, 2.0])]"),
    "output_of_complex": _execute("return [answer(np.zeros(2, np.complex64))]"),
    "output_of_dates": _execute('return [answer(np.zeros(2, "datetime64[s]"))]'),
    "output_without_a_name": _execute('return [answer(name="")]'),
    "output_named_by_a_number": _execute("return [answer(name=5)]"),
    "output_twice": _execute(
        'tensors = [pb_utils.Tensor("OUTPUT0", np.full(2, number, np.float32)) for number in (1, 2)]',
        "return [pb_utils.InferenceResponse(tensors)]",
    ),
    "an_output_more": _execute(
        'tensors = [pb_utils.Tensor(name, np.zeros(2, np.float32)) for name in ("OUTPUT0", "MORE")]',
        "return [pb_utils.InferenceResponse(tensors)]",
    ),
    "empty_output": _execute("return [answer(np.zeros(0, np.float32))]"),
    "unknown_input": _execute('pb_utils.get_input_tensor_by_name(requests[0], "NOPE").as_numpy()', "return [answer()]"),
    "execute_raises": _execute('raise ValueError("told to fail in execute")'),
    "execute_raises_model_exception": _execute('raise pb_utils.TritonModelException("told to fail")'),
    "execute_raises_triton_error": _execute('raise pb_utils.TritonError("told to fail")'),
    "execute_raises_without_text": _execute("raise ValueError"),
    "execute_raises_a_class_of_its_own": IMPORTS
    + "class Mine(Exception):\n    pass\n\n\n"
    + CLASS
    + _method("execute", 'raise Mine("told to fail")'),
    "execute_raises_deeper": IMPORTS
    + "def deeper():\n    return {}['key']\n\n\n"
    + CLASS
    + _method("execute", "return deeper()"),
    "execute_raises_a_syntax_error": _execute('exec("def")'),
    "execute_exits": _execute("sys.exit(3)"),
    "execute_raises_keyboard_interrupt": _execute("raise KeyboardInterrupt"),
    "execute_ends_the_process": _execute("os._exit(3)"),
    "execute_segfaults": _execute("ctypes.string_at(0)"),
    "execute_aborts": _execute("os.abort()"),
    "execute_kills_itself": _execute("os.kill(os.getpid(), signal.SIGKILL)"),
    "execute_terminates_itself": _execute("os.kill(os.getpid(), signal.SIGTERM)", "time.sleep(1)", "return [answer()]"),
    "execute_prints_a_lot": _execute(
        'print("x" * 5_000_000)', 'for number in range(20_000):\n            print("line", number)', "return [answer()]"
    ),
    "threads_left_behind": _execute(
        "threading.Thread(target=time.sleep, args=(3600,)).start()",
        "threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
        "return [answer()]",
    ),
    "thread_raises": _execute(
        "thread = threading.Thread(target=int, args=('x',))", "thread.start()", "thread.join()", "return [answer()]"
    ),
    "closes_its_output": _execute("os.closerange(1, 3)", "return [answer()]"),
    "finalize_raises": _execute("return [answer()]")
    + "\n"
    + _method("finalize", 'raise ValueError("told to fail in finalize")', arguments="self"),
    "finalize_ends_the_process": _execute("return [answer()]")
    + "\n"
    + _method("finalize", "os._exit(3)", arguments="self"),
}
"""What goes wrong with a request, or after it."""

_SENDERS = "senders = [request.get_response_sender() for request in requests]"
_FINAL = "flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL"
RELEASE_ALL = "pb_utils.TRITONSERVER_REQUEST_RELEASE_ALL"
RESCHEDULE = "pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE"


def _reported(*statements: str, decoupled: bool = True) -> str:
    """Sends or returns, as an error's text, what `statements` raise one after the other."""
    lines = ["found = []"]
    for statement in statements:
        lines += ["try:", f"    {statement}", '    found.append("nothing")', "except BaseException as error:"]
        lines += ['    found.append(f"{type(error).__name__}: {error}")']
    lines += ['self.found = " | ".join(found)', "print('FOUND', self.found, flush=True)"]
    return _execute(_SENDERS, "sender, request = senders[0], requests[0]", *lines, *(["return None"] * decoupled))


WITH_SENDERS: dict[str, str] = {
    "decoupled_returns_a_list": _execute("return [answer() for _ in requests]"),
    "decoupled_returns_an_empty_list": _execute("return []"),
    "decoupled_raises": _execute('raise ValueError("told to fail in execute")'),
    "decoupled_raises_after_a_response": _execute(
        _SENDERS, "senders[0].send(answer())", 'raise ValueError("told to fail in execute")'
    ),
    "decoupled_raises_after_final": _execute(
        _SENDERS, f"senders[0].send(answer(), {_FINAL})", 'raise ValueError("told to fail in execute")'
    ),
    "decoupled_never_sends": _execute("return None"),
    "decoupled_drops_its_sender": _execute(_SENDERS, "senders[0].send(answer())", "return None"),
    "decoupled_sends_after_final": _reported(
        f"sender.send(answer(), {_FINAL})", "sender.send(answer())", f"sender.send({_FINAL})"
    ),
    "decoupled_sends_wrong_things": _reported(
        "sender.send()",
        "sender.send(None)",
        "sender.send(5)",
        "sender.send([answer()])",
        "sender.send(answer(), 7)",
        "sender.send(answer(), flags='x')",
        "sender.send(flags=2)",
        "sender.send(response=answer(), flags=0)",
        f"sender.send({_FINAL})",
    ),
    "decoupled_sends_an_error": _execute(
        _SENDERS,
        'error = pb_utils.TritonError("told to fail", pb_utils.TritonError.NOT_FOUND)',
        "senders[0].send(answer())",
        "senders[0].send(pb_utils.InferenceResponse(error=error))",
        f"senders[0].send(answer(), {_FINAL})",
        "return None",
    ),
    "decoupled_sends_another_output": _execute(_SENDERS, f'senders[0].send(answer(name="OTHER"), {_FINAL})'),
    "decoupled_two_senders": _reported(
        "request.get_response_sender().send(answer())",
        f"request.get_response_sender().send({_FINAL})",
        f"request.get_response_sender().send({_FINAL})",
        f"sender.send({_FINAL})",
    ),
    "decoupled_wrong_release_flags": _reported(
        "request.set_release_flags(0)",
        "request.set_release_flags(3)",
        "request.set_release_flags(7)",
        "request.set_release_flags('x')",
        "request.set_release_flags(None)",
        f"request.set_release_flags({RELEASE_ALL})",
        f"sender.send({_FINAL})",
    ),
    "decoupled_reschedules_after_a_response": _execute(
        _SENDERS,
        "self.round = getattr(self, 'round', 0) + 1",
        "if self.round == 1:",
        "    senders[0].send(answer())",
        f"    requests[0].set_release_flags({RESCHEDULE})",
        "    return None",
        f"senders[0].send({_FINAL})",
        "return None",
    ),
    "decoupled_reschedules_after_final": _execute(
        _SENDERS,
        f"senders[0].send(answer(), {_FINAL})",
        f"requests[0].set_release_flags({RESCHEDULE})",
        "return None",
    ),
    "decoupled_ends_the_process": _execute(_SENDERS, "senders[0].send(answer())", "time.sleep(0.5)", "os._exit(3)"),
}
"""Decoupled models."""

PLAIN_WITH_SENDERS: dict[str, str] = {
    "plain_sends_and_returns_none": _execute(_SENDERS, f"senders[0].send(answer(), {_FINAL})", "return None"),
    "plain_sends_and_returns_a_list_of_none": _execute(
        _SENDERS, f"senders[0].send(answer(), {_FINAL})", "return [None]"
    ),
    "plain_sends_and_returns_a_response": _execute(
        _SENDERS, f"senders[0].send(answer(), {_FINAL})", "return [answer()]"
    ),
    "plain_sends_twice": _reported(
        "sender.send(answer())", "sender.send(answer())", f"sender.send(answer(), {_FINAL})", f"sender.send({_FINAL})"
    ),
    "plain_sends_final_first": _reported(f"sender.send({_FINAL})", f"sender.send(answer(), {_FINAL})"),
    "plain_sends_without_final": _execute(_SENDERS, "senders[0].send(answer())", "return None"),
    "plain_sends_final_later": _execute(
        _SENDERS,
        "def later():",
        "    time.sleep(0.3)",
        f"    senders[0].send(answer(), {_FINAL})",
        "threading.Thread(target=later).start()",
        "return None",
    ),
    "plain_reschedules_and_answers": _execute(f"requests[0].set_release_flags({RESCHEDULE})", "return [answer()]"),
    "plain_sends_an_error": _execute(
        _SENDERS,
        'error = pb_utils.TritonError("told to fail", pb_utils.TritonError.NOT_FOUND)',
        f"senders[0].send(pb_utils.InferenceResponse(error=error), {_FINAL})",
        "return None",
    ),
}
"""Models that answer once, through senders."""

BROKEN: dict[str, tuple[str, str | None]] = {
    **{name: (CONFIG, text) for name, text in AT_LOAD.items()},
    **{name: (CONFIG, text) for name, text in {**AT_EXECUTE, **PLAIN_WITH_SENDERS}.items()},
    **{name: (CONFIG + DECOUPLED, text) for name, text in WITH_SENDERS.items()},
}
"""All of them: the configuration and the file."""


def write_broken_models(root: Path) -> Path:
    """A folder for each; returns `root`."""
    for name, (config, text) in BROKEN.items():
        version = root / name / "1"
        version.mkdir(parents=True)
        (root / name / "config.pbtxt").write_text(config)
        if text is not None:
            (version / "model.py").write_text(text)
    return root
