"""Whether trees' nodes lead to nodes that are there: what the libraries rely on without looking. Pure.

A tree's arrays are as long as it has nodes; a child that is not there is -1.
"""

from typing import Any

import numpy as np

from atoll.tensor import Array


def whole_numbers(value: Any, what: str) -> Array:
    """As an array of one dimension. Raises ValueError where it is none."""
    try:
        found = np.asarray(value)
        if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
            raise ValueError(f"{what} is not a list of whole numbers")
        return found.astype(np.int64)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{what} is not a list of whole numbers") from error


def check_nodes(left: Array, right: Array, features: Array, feature_count: int, what: str) -> None:
    """Raises ValueError where a node has one child, a child is out of range or its own ancestor, or a node asks for a
    feature that the model does not have.
    """
    count = len(left)
    if count == 0:
        raise ValueError(f"{what} has no nodes")
    if not len(right) == len(features) == count:
        raise ValueError(f"{what} has {count} left children, {len(right)} right ones and {len(features)} features")
    least = min(left.min(), right.min())
    if least < -1:  # which is no leaf to XGBoost
        raise ValueError(f"a node of {what} leads to node {least} of {count}")
    inner = left >= 0
    if ((right >= 0) != inner).any():
        raise ValueError(f"a node of {what} has one child, not two")
    nodes = np.flatnonzero(inner)
    children = np.concatenate([left[nodes], right[nodes]])
    if children.size and children.max() >= count:
        raise ValueError(f"a node of {what} leads to node {children.max()} of {count}")
    if len(np.unique(children)) != len(children) or (children == 0).any():
        raise ValueError(f"two nodes of {what} lead to the same one")
    asked = features[nodes]
    if asked.size and (asked.min() < 0 or asked.max() >= feature_count):
        raise ValueError(f"a node of {what} asks for feature {asked.max()} of {feature_count}")
