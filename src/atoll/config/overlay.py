"""One configuration laid over another: what the upper one says wins, what it leaves out shows through."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from atoll.config.fields import default_of, fields_of
from atoll.config.model_config import ModelConfig
from atoll.config.places import key_path


def overlay(base: ModelConfig, override: ModelConfig, written: Collection[str] = ()) -> ModelConfig:
    """`base` with everything that `override` says.

    Scalars and lists replace, messages merge field by field, maps key by key; a member of a oneof puts out the others.
    A scalar of its default value and an empty list say nothing, unless their key path is in `written`. Platform and
    backend are two ways to say one thing: with either, both are the override's.
    """
    merged: ModelConfig = _merged(base, override, "", written)
    if override.platform or override.backend:
        merged = replace(merged, platform=override.platform, backend=override.backend)
    return merged


def _merged(base: Any, override: Any, path: str, written: Collection[str]) -> Any:
    changes: dict[str, Any] = {}
    fields = fields_of(type(base))
    chosen = {one.oneof for one in fields if one.oneof and getattr(override, one.attribute) is not None}
    for field in fields:
        lower, upper = getattr(base, field.attribute), getattr(override, field.attribute)
        here = key_path(path, field.name)
        if field.key is not None:
            changes[field.attribute] = {**lower, **upper}
        elif field.optional:
            if upper is None:
                kept = None if field.oneof in chosen else lower
            else:
                kept = _merged(lower, upper, here, written) if field.record and lower is not None else upper
            changes[field.attribute] = kept
        elif here in written or upper != (() if field.repeated else default_of(field.scalar, field.enum)):
            changes[field.attribute] = upper
    return replace(base, **changes)
