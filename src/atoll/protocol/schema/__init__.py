"""The descriptors of the gRPC services, beside those of the model configuration in the same private pool."""

from atoll.config.schema import add_schema, message_class

__all__ = ["message_class"]

add_schema(__name__, "grpc_service.binpb")
add_schema(__name__, "health.binpb")
