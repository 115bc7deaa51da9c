"""The header by which answers tell a load balancer how full the model's KV cache is (ORCA, Open Request Cost
Aggregation): asked for by the request header endpoint-load-metrics-format, json or text.

The figures are those of the metric family nv_trt_llm_kv_cache_block_metrics, which the model defines and sets itself.
"""

import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atoll.server import Server

FAMILY = "nv_trt_llm_kv_cache_block_metrics"
KIND = "kv_cache_block_type"


def load_metrics_line(server: "Server", model_name: str, form: str) -> bytes:
    """The finished header line; empty where the model has no such metrics.

    `form`: json or text. The utilization is used by all blocks, the capacity all of them in tokens.
    """
    sums: dict[str, float] = {}
    for labels, value in server.custom_metrics.readings(FAMILY):
        if labels.get("model", model_name) == model_name and KIND in labels:
            kind = labels[KIND]
            sums[kind] = value if kind == "tokens_per" else sums.get(kind, 0.0) + value
    if not {"used", "max", "tokens_per"} <= sums.keys() or not all(map(math.isfinite, sums.values())):
        return b""
    blocks = sums["max"]
    named: dict[str, float] = {
        "kv_cache_utilization": sums["used"] / blocks if blocks > 0 else 0.0,
        "max_token_capacity": int(blocks * sums["tokens_per"]) if blocks > 0 else 0,
    }
    if form == "json":
        text = "JSON " + json.dumps({"named_metrics": named})
    else:
        text = "TEXT " + ", ".join(f"named_metrics.{name}={value}" for name, value in named.items())
    return b"endpoint-load-metrics: %b\r\n" % text.encode("ascii")
