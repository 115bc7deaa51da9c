"""Files of torch.export: the checks that come before PyTorch unpickles anything, and loading them."""

import io
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atoll.backends.pytorch.archive import Records, records_of
from atoll.backends.pytorch.calls import Call, by_position, in_tree
from atoll.backends.pytorch.compilation import compiled
from atoll.backends.pytorch.devices import ANYWHERE, CPU, Modules
from atoll.backends.pytorch.errors import load_error
from atoll.backends.pytorch.exported_facts import TENSOR, ExportedFacts, exported_facts
from atoll.backends.pytorch.program import Program
from atoll.backends.pytorch.settings import ModelSettings
from atoll.errors import ConfigError

_one_at_a_time = threading.RLock()  # PyTorch's reader of such files keeps its state in a global variable


def facts_of(model: str, path: Path) -> ExportedFacts:
    """What the file says. Raises ConfigError naming the file and the cause."""
    try:
        with records_of(path) as records:
            return exported_facts(records.program())
    except (ValueError, OSError) as error:
        raise load_error(model, path, error) from error


def load(torch: Any, model: str, path: Path, settings: ModelSettings, device: str) -> Program:
    """The file's program, with a module on that device. Raises ConfigError naming the file and the cause."""
    if settings.autocast:
        raise ConfigError(
            f"model '{model}': the types inside a program of torch.export are fixed, and AUTOCAST does not change "
            "them; leave it out, and export the module in that type or under torch.autocast"
        )
    facts = facts_of(model, path)
    if not settings.allow_pickle:
        _refuse_pickles(torch, model, path)
    _refuse_missing_operators(torch, model, path, facts)
    first, in_spec = _read(torch, model, path, facts, device, settings)
    share = not facts.stateful if settings.share_weights is None else settings.share_weights
    modules = Modules(lambda where: _read(torch, model, path, facts, where, settings)[0], share)
    modules.keep(device, first)

    def call(module: Any, bound: Sequence[str | None]) -> Call:
        if facts.plain and all(value is TENSOR for value in facts.values):
            return by_position(module)
        return in_tree(module, in_spec.unflatten, facts.values, TENSOR)

    return Program(
        forward=facts.forward,
        signature=facts.signature,
        modules=modules,
        call=call,
        copies_inputs=facts.writes_inputs,
        watches_inputs=True,
        copies_outputs=facts.returns_given or settings.compile is not None,
        native=settings.compile is None,
    )


def _read(torch: Any, model: str, path: Path, facts: ExportedFacts, device: str, settings: ModelSettings) -> Any:
    try:
        with _one_at_a_time, _real_cause(), path.open("rb") as file:
            program = torch.export.load(file)
            if device not in (CPU, ANYWHERE):
                program = _moved(torch, program, device)
            module = program.module()
            return compiled(torch, module, settings), program.call_spec.in_spec
    except Exception as error:
        here = torch.__version__
        saved = f" (saved by PyTorch {facts.torch_version}, this is {here})" if facts.torch_version != here else ""
        raise load_error(model, path, f"{error}{saved}") from error


def _moved(torch: Any, program: Any, device: str) -> Any:
    """The program on another device."""
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, torch.device(device))


def _refuse_missing_operators(torch: Any, model: str, path: Path, facts: ExportedFacts) -> None:
    for operator in sorted(facts.operators):
        found = torch.ops
        for name in operator.split(".")[2:]:
            found = getattr(found, name, None)
        if found is None:
            _, _, namespace, *rest = operator.split(".")
            raise load_error(model, path, f"No such operator {namespace}::{'.'.join(rest)}")


def _refuse_pickles(torch: Any, model: str, path: Path) -> None:
    """Raises ConfigError where the file holds a pickle that could run code of its author's when it is read."""
    with records_of(path) as records:
        try:
            pickles = list(records.pickles())
        except (ValueError, TypeError, AttributeError) as error:
            raise load_error(model, path, f"its lists of records have an unknown form: {error}") from error
        for name, as_tensors in pickles:
            reason = _danger(torch, records, name) if as_tensors else "it is a pickle of a Python object"
            if reason:
                raise ConfigError(
                    f"failed to load model '{model}' from '{path}': its record {name} is a pickle that may run any "
                    f"code when it is read ({reason}); export the program with plain tensors only, or, if you trust "
                    "who made it, start the server with --backend-config=pytorch,allow-pickle=true"
                )


def _danger(torch: Any, records: Records, name: str) -> str:
    try:
        content = records.read(name)
        if content:
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        return str(error).strip().split("\n")[-1][:200]
    return ""


@contextmanager
def _real_cause() -> Iterator[None]:
    """torch.export.load logs why it fails and raises something else: this raises the reason, and logs nothing."""
    found: list[BaseException] = []

    def note(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            found.append(record.exc_info[1])
        return False

    logger = logging.getLogger("torch.export")
    logger.addFilter(note)
    try:
        yield
    except Exception as error:
        raise (found[0] if found else error) from error
    finally:
        logger.removeFilter(note)
