"""The file that jax.export makes: read, checked, and what it says of its inputs and outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.backends.api import ModelSource
from atoll.backends.error_text import bounded_text
from atoll.backends.jax.names import input_names, output_names, twice
from atoll.backends.jax.runtime import Jax
from atoll.backends.model_kind import wrong_kind
from atoll.backends.model_path import model_path
from atoll.config.signature import ModelSignature, TensorSignature
from atoll.errors import ConfigError, MissingExtraError
from atoll.tensor import BY_DTYPE_NAME, DataType

DEFAULT_MODEL_FILENAME = "model.jax"

_WIDE = {DataType.UINT64, DataType.INT64, DataType.FP64}


@dataclass(frozen=True, slots=True)
class Artifact:
    """`exported` is JAX's own object; its inputs and outputs are in the order of `signature`'s."""

    path: Path
    exported: Any
    signature: ModelSignature

    @property
    def is_wide(self) -> bool:
        """Whether there are 64-bit numbers among them, which JAX halves unless told otherwise."""
        return any(one.data_type in _WIDE for one in (*self.signature.inputs, *self.signature.outputs))

    @property
    def has_fixed_rows(self) -> bool:
        """Whether nothing but the batch dimension, if there is one, can be of any size."""
        first = 1 if self.signature.batching else 0
        return all(one.shape is not None and -1 not in one.shape[first:] for one in self.signature.inputs)


def read_artifact(source: ModelSource, jax: Jax) -> Artifact:
    """The version's artifact.

    Raises ConfigError naming the file, what was found, and what to do: for what is no artifact, for one of another
    version of its format, for several devices, and for tensors that the protocol has no type for.
    """
    path = model_path(source, DEFAULT_MODEL_FILENAME)
    try:
        exported = jax.export.deserialize(bytearray(path.read_bytes()))
        inputs = _paths(jax, exported.in_tree, exported.in_avals)
        outputs = _paths(jax, exported.out_tree, exported.out_avals)
    except ImportError as error:
        raise MissingExtraError(
            f"the jax backend cannot read artifacts of jax.export ({error}); install what it needs: "
            'pip install "atoll[jax]"'
        ) from error
    except Exception as error:
        kind = wrong_kind(path, "jax")
        advice = kind or "; it is cut off, damaged, of a newer JAX, or no artifact of jax.export: export it again"
        raise ConfigError(
            f"failed to load model '{source.name}' from '{path}': {bounded_text(error)} "
            f"(JAX {jax.version} reads the bytes of jax.export's `serialize()`){advice}"
        ) from error
    _check_version(source, path, exported, jax)
    if exported.nr_devices != 1:
        raise ConfigError(
            f"model '{source.name}': '{path}' was exported for {exported.nr_devices} devices, and an instance has one; "
            "export it without a mesh"
        )
    batching = _batching([*inputs, *outputs])
    return Artifact(
        path,
        exported,
        ModelSignature(
            inputs=_signatures("input", input_names([one for one, _ in inputs]), inputs, path),
            outputs=_signatures("output", output_names([one for one, _ in outputs]), outputs, path),
            batching=batching,
        ),
    )


def _check_version(source: ModelSource, path: Path, exported: Any, jax: Jax) -> None:
    least = jax.export.minimum_supported_calling_convention_version
    most = jax.export.maximum_supported_calling_convention_version
    found = exported.calling_convention_version
    if not least <= found <= most:
        remedy = "export it again with this JAX" if found < least else "upgrade JAX, or export it with an older one"
        raise ConfigError(
            f"model '{source.name}': '{path}' has version {found} of jax.export's calling convention, and JAX "
            f"{jax.version} runs versions {least} to {most}: {remedy}"
        )


_Found = Sequence[tuple[Sequence[Any], Any]]


def _paths(jax: Jax, tree: Any, avals: Sequence[Any]) -> _Found:
    """Each tensor with the path to it. Raises ValueError where the file's parts do not fit together."""
    whole = jax.tree.tree_unflatten(tree, avals)
    found: _Found = jax.tree.tree_flatten_with_path(whole)[0]
    if len(found) != len(avals):
        raise ValueError(f"the structure holds {len(found)} tensors, and {len(avals)} are described")
    return found


def _batching(tensors: _Found) -> bool | None:
    """Whether every tensor's first dimension is one and the same variable; None where one is not of any size."""
    firsts = [aval.shape[0] if len(aval.shape) > 0 else 0 for _, aval in tensors]
    if not firsts or any(isinstance(one, int) for one in firsts):
        return None
    return len({str(one) for one in firsts}) == 1 and str(firsts[0]).isidentifier()


def _signatures(kind: str, names: Sequence[str], found: _Found, path: Path) -> tuple[TensorSignature, ...]:
    double = twice(names)
    if double:
        raise ConfigError(
            f"two {kind}s of '{path}' would be named '{double[0]}': rename the dictionary's keys, then export it again"
        )
    return tuple(_signature(kind, name, aval, path) for name, (_, aval) in zip(names, found, strict=True))


def _signature(kind: str, name: str, aval: Any, path: Path) -> TensorSignature:
    type_name = getattr(aval.dtype, "name", str(aval.dtype))
    data_type = BY_DTYPE_NAME.get(type_name)
    if data_type is None:
        raise ConfigError(
            f"{kind} '{name}' of '{path}' is of type {type_name}, which the inference protocol does not have; convert "
            "it inside the function, then export it again"
        )
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in aval.shape)
    return TensorSignature(name=name, data_type=data_type, shape=shape)
