"""Packages of AOTInductor: machine code that was compiled from an exported program."""

import sys
from collections.abc import Sequence
from pathlib import Path
from platform import machine
from typing import Any

from atoll.backends.pytorch.aot_facts import InputFacts, PackageFacts, mismatch, package_facts
from atoll.backends.pytorch.archive import records_of
from atoll.backends.pytorch.call_spec import Leaf, input_leaves, output_leaves
from atoll.backends.pytorch.calls import Call
from atoll.backends.pytorch.devices import ANYWHERE, Modules
from atoll.backends.pytorch.errors import load_error
from atoll.backends.pytorch.names import Forward
from atoll.backends.pytorch.program import Program
from atoll.backends.pytorch.settings import ModelSettings
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError
from atoll.tensor import DataType


def load(torch: Any, model: str, path: Path, settings: ModelSettings, device: str, instances: int) -> Program:
    """The package's model on that device. Raises ConfigError naming the file and the cause."""
    for key, given in (("TORCH_COMPILE", settings.compile is not None), ("AUTOCAST", bool(settings.autocast))):
        if given:
            raise ConfigError(
                f"model '{model}': parameter '{key}' does nothing for a package of AOTInductor, which is compiled "
                "already: leave it out"
            )
    facts = facts_of(model, path)
    first = _read(torch, model, path, facts, device, instances)
    # A loader has a runner for each instance, all of which share its constants.
    modules = Modules(
        lambda where: _read(torch, model, path, facts, where, instances), settings.share_weights is not False
    )
    modules.keep(device, first)
    forward = _forward(model, path, first)
    return Program(
        forward=forward,
        signature=_signature(facts, forward),
        modules=modules,
        call=_call,
        copies_inputs=True,  # its code may write to them, and nothing says whether it does
        watches_inputs=False,
        copies_outputs=False,
        native=True,
    )


def signature_of(torch: Any, model: str, path: Path) -> tuple[Forward, ModelSignature]:
    """What the package says; of its outputs only how many there are."""
    facts = facts_of(model, path)
    forward = _forward(model, path, _read(torch, model, path, facts, facts.device, 1))
    return forward, _signature(facts, forward)


def _signature(facts: PackageFacts, forward: Forward) -> ModelSignature:
    inputs = [
        TensorSignature(name=name, data_type=one.data_type, shape=one.shape)
        for i, name in enumerate(forward.arguments or ())
        for one in [facts.inputs.get(i, InputFacts())]
    ]
    names = forward.outputs or [f"OUTPUT__{i}" for i in range(forward.output_count or 0)]
    outputs = [TensorSignature(name=name, data_type=DataType.INVALID, shape=None) for name in names]
    return ModelSignature(inputs=tuple(inputs), outputs=tuple(outputs))


def facts_of(model: str, path: Path) -> PackageFacts:
    """What lies beside the machine code. Raises ConfigError naming the file and the cause."""
    try:
        with records_of(path) as records:
            return package_facts(records)
    except (ValueError, OSError) as error:
        raise load_error(model, path, error) from error


def _read(torch: Any, model: str, path: Path, facts: PackageFacts, device: str, runners: int) -> Any:
    kind, _, index = device.partition(":")
    if device != ANYWHERE and kind != facts.device:
        wanted = "KIND_CPU" if facts.device == "cpu" else "KIND_GPU"
        raise load_error(
            model, path, f"it was compiled for {facts.device}, but its instances are on {kind}: use kind: {wanted} in "
            "its instance_group, or compile it for that device"
        )  # fmt: skip
    vectors = torch.backends.cpu.get_cpu_capability()
    unfit = mismatch(facts.metadata, system=sys.platform, machine=machine(), vectors=vectors)
    if unfit:
        raise load_error(model, path, unfit)
    try:
        loader = torch._C._aoti.AOTIModelPackageLoader  # noqa: SLF001
        return loader(str(path), facts.model, False, runners, int(index or -1))
    except Exception as error:
        raise load_error(model, path, error) from error


def _call(loader: Any, bound: Sequence[str | None]) -> Call:
    # The package's own call, not the public one, which parses the trees of arguments each time.
    run: Call = loader.boxed_run
    return run


def _forward(model: str, path: Path, loader: Any) -> Forward:
    try:
        in_spec, out_spec = loader.get_call_spec()
        leaves, results = input_leaves(in_spec), output_leaves(out_spec)
    except ValueError as error:
        raise load_error(model, path, f"its call's form is unknown: {error}") from error
    labels = _labels(leaves)
    names = labels or tuple(f"INPUT__{i}" for i in range(len(leaves)))
    return Forward(arguments=names, named=bool(labels), outputs=_labels(results) or None, output_count=len(results))


def _labels(leaves: Sequence[Leaf]) -> tuple[str, ...]:
    labels = tuple(leaf.label for leaf in leaves)
    return labels if all(labels) and len(set(labels)) == len(labels) else ()
