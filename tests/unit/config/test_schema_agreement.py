"""The schema, the records and the official client's descriptors say the same."""

from dataclasses import fields
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

import atoll.config.model_config as records
from atoll.config.fields import enum_name, enum_number, fields_of
from atoll.config.model_config import ModelConfig
from atoll.config.schema import POOL, message_class
from atoll.tensor import DataType


def messages(container: Any) -> dict[str, Any]:
    found = {}
    for one in container.values():
        if not one.GetOptions().map_entry:
            found[one.full_name] = one
            found |= messages(one.nested_types_by_name)
    return found


def described(message: Any) -> dict[str, tuple[Any, ...]]:
    return {
        one.name: (
            one.number,
            one.type,
            one.message_type and one.message_type.full_name,
            one.enum_type and {value.name: value.number for value in one.enum_type.values},
            one.containing_oneof and one.containing_oneof.name,
            one.index,
        )
        for one in message.fields
    }


THEIRS = messages(model_config_pb2.DESCRIPTOR.message_types_by_name)
OURS = messages(POOL.FindFileByName("model_config.proto").message_types_by_name)


def test_the_same_messages() -> None:
    assert set(OURS) == set(THEIRS)


@pytest.mark.parametrize("name", sorted(THEIRS))
def test_the_same_fields(name: str) -> None:
    assert described(OURS[name]) == described(THEIRS[name])


def record_of(name: str) -> Any:
    found: Any = records
    for part in name.removeprefix("inference.").split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_message_has_its_record(name: str) -> None:
    record = record_of(name)
    assert [one.name for one in OURS[name].fields] == [one.name for one in fields_of(record)]
    for one in fields_of(record):
        descriptor = OURS[name].fields_by_name[one.name]
        if descriptor.enum_type is not None:
            assert one.enum is not None
            wanted = {value.name: value.number for value in descriptor.enum_type.values}
            assert {enum_name(member): enum_number(member) for member in one.enum} == wanted


@pytest.mark.parametrize("name", sorted(OURS))
def test_defaults_are_the_schemas(name: str) -> None:
    record, empty = record_of(name)(), message_class(name)()
    for one in fields_of(type(record)):
        value = getattr(record, one.attribute)
        if one.optional:
            assert value is None
        elif one.enum is not None and not one.repeated:
            assert enum_number(value) == getattr(empty, one.name)
        elif one.repeated or one.key is not None:
            assert len(value) == 0
        else:
            assert value == getattr(empty, one.name)


def test_records_refuse_unknown_keys_and_changes() -> None:
    with pytest.raises(TypeError, match="max_batchsize"):
        ModelConfig(max_batchsize=3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        ModelConfig().name = "other"  # type: ignore[misc]


def test_global_is_written_with_an_underscore() -> None:
    assert [one.name for one in fields(records.ModelRateLimiter.Resource)] == ["name", "global_", "count"]
    assert [one.name for one in fields_of(records.ModelRateLimiter.Resource)] == ["name", "global", "count"]


def test_data_types_are_the_schemas() -> None:
    wanted = {one.name: one.number for one in POOL.FindEnumTypeByName("inference.DataType").values}
    assert {one.config_name: one.number for one in DataType} == wanted
