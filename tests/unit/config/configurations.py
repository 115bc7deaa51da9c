"""Configurations with anything in any field, for property tests."""

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from atoll.config.fields import INTEGER_RANGES, conflict, fields_of
from atoll.config.model_config import ModelConfig

SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "bool": st.booleans(),
    "float": st.floats(width=32, allow_nan=False).map(lambda value: float(str(np.float32(value)))),
    "double": st.floats(allow_nan=False),
    **{name: st.integers(low, high) for name, (low, high) in INTEGER_RANGES.items()},
}


def values(field: Any) -> st.SearchStrategy[Any]:
    if field.record:
        one: st.SearchStrategy[Any] = records(field.record)
    elif field.enum:
        one = st.sampled_from(list(field.enum))
    else:
        one = SCALARS[field.scalar]
    if field.key is not None:
        return st.dictionaries(SCALARS[field.key], one, max_size=2)
    return st.lists(one, max_size=2).map(tuple) if field.repeated else one


def records(record: type[Any]) -> st.SearchStrategy[Any]:
    optional = {one.attribute: values(one) for one in fields_of(record)}
    return (
        st.fixed_dictionaries({}, optional=optional)
        .filter(lambda chosen: conflict(record, chosen) is None)
        .map(lambda chosen: record(**chosen))
    )


def configurations() -> st.SearchStrategy[ModelConfig]:
    """A few of the fields at a time: with all of them at once an example grows too big to draw."""
    fields = {one.attribute: one for one in fields_of(ModelConfig)}
    return (
        st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)
        .filter(lambda names: conflict(ModelConfig, names) is None)
        .flatmap(lambda names: st.fixed_dictionaries({name: values(fields[name]) for name in names}))
        .map(lambda chosen: ModelConfig(**chosen))
    )


slowly = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
