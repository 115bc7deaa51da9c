"""How each record's fields stand in the schema: the one description from which all conversions run."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from atoll.config.schema import POOL
from atoll.tensor import BY_CONFIG_NAME, BY_NUMBER, DataType


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: `attribute` in Python, `name` in the schema.

    `record` and `enum` say what it (or each element, or each value of a map) is; neither means the scalar `scalar`,
    under its name in .proto files. `key` is a map's key likewise, `entry` the full name of its message. `optional`
    fields are None when absent; at most one of the fields that name the same `oneof` is present.
    """

    attribute: str
    name: str
    record: type[Any] | None
    enum: type[Enum] | None
    scalar: str
    key: str | None
    repeated: bool
    optional: bool
    oneof: str | None
    entry: str


SERVER_RECORDS = "atoll.config.server_records"  # the module of those in our own package of the schema

_FIELDS: dict[type[Any], tuple[Field, ...]] = {}


def fields_of(record: type[Any]) -> tuple[Field, ...]:
    """The fields of a record, in the schema's order."""
    found = _FIELDS.get(record)
    if found is None:
        found = _FIELDS[record] = _described(record)
    return found


def schema_name(record: type[Any]) -> str:
    """The full name of a record's message or an enumeration's, such as inference.ModelConfig."""
    package = "atoll" if record.__module__ == SERVER_RECORDS else "inference"
    return f"{package}.{record.__qualname__}"


def default_of(scalar: str, enum: type[Enum] | None = None) -> Any:
    """The value of a scalar or an enumeration that is not written."""
    if enum is not None:
        return next(iter(enum))
    return {"string": "", "bool": False, "float": 0.0, "double": 0.0}.get(scalar, 0)


def _described(record: type[Any]) -> tuple[Field, ...]:
    descriptor = POOL.FindMessageTypeByName(schema_name(record))
    hints = get_type_hints(record)
    found = [
        _field(descriptor.fields_by_name[one.name.rstrip("_")], one.name, hints[one.name]) for one in fields(record)
    ]
    return tuple(sorted(found, key=lambda one: descriptor.fields_by_name[one.name].index))


def _field(descriptor: Any, attribute: str, hint: Any) -> Field:
    arguments = get_args(hint)
    is_map = get_origin(hint) is dict
    repeated = get_origin(hint) is tuple
    optional = NoneType in arguments
    kind = arguments[1] if is_map else arguments[0] if repeated or optional else hint
    is_enum = issubclass(kind, Enum)
    is_record = hasattr(kind, "__dataclass_fields__")
    value = descriptor.message_type.fields_by_name["value"] if is_map else descriptor
    return Field(
        attribute=attribute,
        name=descriptor.name,
        record=kind if is_record else None,
        enum=kind if is_enum else None,
        scalar="" if is_enum or is_record else _SCALARS[value.type],
        key=_SCALARS[descriptor.message_type.fields_by_name["key"].type] if is_map else None,
        repeated=repeated,
        optional=optional,
        oneof=descriptor.containing_oneof.name if descriptor.containing_oneof else None,
        entry=descriptor.message_type.full_name if is_map else "",
    )


# FieldDescriptor.Type of the schema's scalars; the house has no other
_SCALARS = {1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 13: "uint32"}

INTEGER_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


def conflict(record: type[Any], present: Iterable[str]) -> tuple[Field, Field] | None:
    """Two members of one oneof among the attributes that are present, None where there are no such two."""
    chosen: dict[str, Field] = {}
    attributes = set(present)
    for field in fields_of(record):
        if field.oneof is not None and field.attribute in attributes:
            if field.oneof in chosen:
                return chosen[field.oneof], field
            chosen[field.oneof] = field
    return None


def enum_name(member: Enum) -> str:
    """A member's name in the schema."""
    return member.config_name if isinstance(member, DataType) else member.name


def enum_number(member: Enum) -> int:
    """A member's number in the schema."""
    number: int = member.number if isinstance(member, DataType) else member.value
    return number


def enum_names(enum: type[Enum]) -> list[str]:
    """All names of an enumeration, in the schema's order."""
    return [enum_name(one) for one in enum]


def enum_by_name(enum: type[Enum], name: str) -> Enum | None:
    """The member of that name, None where there is none."""
    return BY_CONFIG_NAME.get(name) if enum is DataType else enum.__members__.get(name)


def enum_by_number(enum: type[Enum], number: int) -> Enum | None:
    """The member of that number, None where there is none."""
    if enum is DataType:
        return BY_NUMBER.get(number)
    return next((one for one in enum if one.value == number), None)
