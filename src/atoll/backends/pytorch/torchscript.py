"""TorchScript files: what their code says of its arguments, and loading them."""

from pathlib import Path
from typing import Any

from atoll.backends.pytorch.calls import of_module
from atoll.backends.pytorch.devices import ANYWHERE, Modules
from atoll.backends.pytorch.errors import load_error
from atoll.backends.pytorch.names import Forward
from atoll.backends.pytorch.program import Program
from atoll.backends.pytorch.settings import ModelSettings
from atoll.backends.pytorch.signatures import declared_signature
from atoll.errors import ConfigError


def load(torch: Any, model: str, path: Path, settings: ModelSettings, device: str) -> Program:
    """The file's model, with a module on that device. Raises ConfigError naming the file and the cause."""
    if settings.compile is not None:
        raise ConfigError(
            f"model '{model}': torch.compile does not take TorchScript; leave TORCH_COMPILE out, or serve a file of "
            "torch.export"
        )
    first = _read(torch, model, path, device)
    forward = forward_of(model, path, first)
    writes, stateful = _writes(first)
    share = not stateful if settings.share_weights is None else settings.share_weights
    modules = Modules(lambda where: _read(torch, model, path, where), share)
    modules.keep(device, first)

    return Program(
        forward=forward,
        signature=declared_signature(forward),
        modules=modules,
        call=lambda module, bound: of_module(module, forward, bound),
        copies_inputs=writes,
        watches_inputs=False,
        copies_outputs=False,
        native=True,
    )


def declared(torch: Any, model: str, path: Path) -> Forward:
    """What the file says, without its weights where PyTorch can leave them out."""
    try:
        module = torch.jit.load(str(path), map_location="meta")
    except Exception:
        module = _read(torch, model, path, "cpu")
    return forward_of(model, path, module)


def _read(torch: Any, model: str, path: Path, device: str) -> Any:
    try:
        module = torch.jit.load(str(path), map_location=None if device == ANYWHERE else device)
    except Exception as error:
        raise load_error(model, path, error) from error
    return module.eval()


def forward_of(model: str, path: Path, module: Any) -> Forward:
    """What its method says. Raises ConfigError where that is nothing that tensors can be given to."""
    try:
        schema = module.forward.schema
    except AttributeError:
        raise load_error(model, path, "its module has no method forward") from None
    given = list(schema.arguments)[1:]
    results = list(schema.returns)
    keyed = [one for one in given if _is(one.type, "Dict[str, Tensor]")]
    if keyed and len(given) > 1:
        raise load_error(
            model, path, f"its forward takes the dict '{keyed[0].name}' beside other arguments: one dict, or tensors"
        )
    servable = [one for one in given if _is(one.type, "Tensor", "Optional[Tensor]", "List[str]", "Dict[str, Tensor]")]
    for one in given:
        if one not in servable and not one.has_default_value():
            raise load_error(
                model,
                path,
                f"its forward takes '{one.name}' of type {one.type}, which a request cannot give: only a Tensor, "
                "a List[str], one Dict[str, Tensor], or what has a default",
            )
    returned = results[0].type if results else None
    strings_out = _is(returned, "List[str]")
    count = 1 if strings_out else _count(model, path, returned)
    return Forward(
        arguments=tuple(one.name for one in servable),
        optional=frozenset(one.name for one in servable if one.has_default_value()),
        strings=frozenset(one.name for one in servable if _is(one.type, "List[str]")),
        keyed=bool(keyed),
        output_count=count,
        strings_out=strings_out,
    )


def _is(kind: Any, *texts: str) -> bool:
    return kind is not None and str(kind) in texts


def _count(model: str, path: Path, kind: Any) -> int | None:
    """How many tensors a result of that type holds, None where that shows when it is there."""
    text = "nothing" if kind is None else str(kind)
    if text in ("Tensor", "Optional[Tensor]"):
        return 1
    if text in ("List[Tensor]", "Dict[str, Tensor]", "Any"):
        return None
    if kind is not None and kind.kind() == "TupleType":
        counts = [_count(model, path, one) for one in kind.elements()]
        known = [one for one in counts if one is not None]
        return sum(known) if len(known) == len(counts) else None
    raise load_error(
        model, path, f"its forward returns {text}, which is no answer: only tensors, tuples, lists or a dict of them, "
        "or a List[str]"
    )  # fmt: skip


def _writes(module: Any) -> tuple[bool, bool]:
    """Whether its code writes to its arguments, and whether it changes what the module holds."""
    try:
        graph = module.inlined_graph
        aliases = graph.alias_db()
        given = list(graph.inputs())[1:]
        held = [node.output() for node in graph.findAllNodes("prim::GetAttr")]
        writes = any(aliases.has_writers(one) for one in given)
        stateful = bool(graph.findAllNodes("prim::SetAttr")) or any(aliases.has_writers(one) for one in held)
    except (AttributeError, RuntimeError):  # graphs are not PyTorch's public interface
        return True, True
    return writes, stateful
