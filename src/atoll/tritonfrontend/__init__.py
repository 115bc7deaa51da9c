"""The frontends of an in-process server under the names of NVIDIA's `tritonfrontend` package.

with tritonserver.Server(model_repository="models") as server, tritonfrontend.KServeHttp(server):
    ...

What differs from that package is in docs/tritonserver-api.md.
"""

from atoll.tritonfrontend.kserve_grpc import KServeGrpc
from atoll.tritonfrontend.kserve_http import KServeHttp
from atoll.tritonfrontend.metrics import Metrics

__all__ = ["KServeGrpc", "KServeHttp", "Metrics"]
