"""What is told of requests that fail: nothing, unless the log takes details, as clients' mistakes are no news."""

import logging

from atoll.errors import AtollError
from atoll.observability.logging.extras import about

logger = logging.getLogger(__name__)


def tell_failure(error: AtollError, request_id: str, model: str, version: str = "") -> None:
    """A request is answered with this error. The real server, too, tells of it at the verbose level 1. `model` and
    `version`: that answers; or those that the request names, where there is no such model.
    """
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("Infer failed: %s", error, extra=about(request_id, model, version))
