"""What Vertex AI's environment changes."""

import pytest

from atoll.errors import InvalidArgumentError
from atoll.frontends.vertex_ai.environment import AipRoutes, aip_routes, option_defaults, storage


def test_defaults() -> None:
    assert option_defaults({}) == {}
    assert option_defaults({"AIP_MODE": "OTHER"}) == {}
    assert option_defaults({"AIP_HTTP_PORT": "9000"}) == {"vertex_ai_port": 9000}
    on = {"allow_vertex_ai": True, "allow_http": False, "allow_grpc": False}
    assert option_defaults({"AIP_MODE": "PREDICTION"}) == on


@pytest.mark.parametrize("port", ["", "x", "-1", "65536", "8080x"])
def test_a_port_is_one(port: str) -> None:
    with pytest.raises(InvalidArgumentError, match="AIP_HTTP_PORT"):
        option_defaults({"AIP_HTTP_PORT": port})


def test_routes() -> None:
    assert aip_routes({"AIP_PREDICT_ROUTE": "/p", "AIP_HEALTH_ROUTE": "/h"}) == AipRoutes("/p", "/h")
    with pytest.raises(InvalidArgumentError, match="AIP_HEALTH_ROUTE is not defined"):
        aip_routes({"AIP_PREDICT_ROUTE": "/p"})
    with pytest.raises(InvalidArgumentError, match="AIP_PREDICT_ROUTE is not defined"):
        aip_routes({"AIP_PREDICT_ROUTE": "", "AIP_HEALTH_ROUTE": "/h"})


def test_the_repository_is_where_vertex_ai_has_put_it() -> None:
    assert storage({}) == storage({"AIP_STORAGE_URI": ""}) == []
    assert storage({"AIP_STORAGE_URI": "gs://bucket/models"}) == ["gs://bucket/models"]
