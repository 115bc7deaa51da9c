"""The parts of the protocol by the names under which they can be restricted: tritonserver's own, and ours."""

from enum import Enum


class Api(Enum):
    """What an endpoint or a procedure belongs to. The value is the name that options and key files use."""

    HEALTH = "health"
    METADATA = "metadata"
    INFERENCE = "inference"
    SHARED_MEMORY = "shared-memory"
    MODEL_CONFIG = "model-config"
    MODEL_REPOSITORY = "model-repository"
    STATISTICS = "statistics"
    TRACE = "trace"
    LOGGING = "logging"
    METRICS = "metrics"  # ours: a port of its own, so tritonserver cannot restrict it
    DOCUMENTATION = "documentation"  # ours: what describes the protocol, and nothing of this server's models
    DASHBOARD = "dashboard"  # ours: a page for people, with what it shows of models, machine and errors
