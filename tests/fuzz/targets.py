"""What hostile bytes are fed to: each target takes any bytes and must neither raise, nor hang, nor grow.

A target knows what its room promises and asserts it: the same bytes again give the same result, two readers agree,
a limit holds. Only the errors that a client gets are caught.
"""

from collections.abc import Mapping

from tests.fuzz import (
    body_targets,
    channel_targets,
    framing_targets,
    grpc_targets,
    header_targets,
    key_targets,
    model_targets,
    region_targets,
    settings_targets,
)
from tests.fuzz.target import Target

TARGETS: Mapping[str, Target] = {
    **body_targets.TARGETS,
    **channel_targets.TARGETS,
    **framing_targets.TARGETS,
    **model_targets.TARGETS,
    **region_targets.TARGETS,
    **settings_targets.TARGETS,
    **header_targets.TARGETS,
    **key_targets.TARGETS,
    **grpc_targets.TARGETS,
}
