"""Our .proto files' descriptors, in a pool of their own.

Other software in the process (tritonclient, above all) may register files and messages of the same names in protobuf's
default pool; two registrations there would be an error, so ours never enter it. scripts/protos writes the .binpb files.
"""

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_descriptor_pb2: Any = descriptor_pb2  # protobuf ships no types
_descriptor_pool: Any = descriptor_pool
_message_factory: Any = message_factory

POOL: Any = _descriptor_pool.DescriptorPool()


def add_schema(package: str, filename: str) -> None:
    """Adds the descriptor file that lies in a package of ours to the pool; what it imports must be there already."""
    for one in _descriptor_pb2.FileDescriptorSet.FromString(files(package).joinpath(filename).read_bytes()).file:
        POOL.AddSerializedFile(one.SerializeToString())


def message_class(name: str) -> Any:
    """The class of a message, such as message_class("inference.ModelConfig"). Raises KeyError for an unknown name."""
    return _message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))


add_schema(__name__, "model_config.binpb")
add_schema(__name__, "server_config.binpb")
