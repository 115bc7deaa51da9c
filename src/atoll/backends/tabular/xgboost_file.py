"""XGBoost's files: JSON and UBJSON, looked through before XGBoost reads them, which ends the process over some damaged
ones. Pure.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from atoll.backends.tabular.tree_checks import check_nodes, whole_numbers
from atoll.backends.tabular.ubjson import read_ubjson

LEGACY = (b"binf", b"bs64")
MOST_OUTPUTS = 1 << 20
MOST_CONTRIBUTIONS = 1 << 28  # numbers that one row can be asked for: of each feature to each output


class LegacyFormatError(ValueError):
    """It is of the binary format that XGBoost 3.1 has given up."""


@dataclass(frozen=True, slots=True)
class XgboostFacts:
    """`outputs`: how many numbers the model gives for a row. `version` is of the XGBoost that wrote it."""

    objective: str
    booster: str
    outputs: int
    features: int
    version: str = ""
    best_iteration: int | None = None


def read_xgboost(data: bytes) -> XgboostFacts:
    """What the file says. Raises ValueError saying what is wrong with it."""
    if not data.startswith(b"{"):
        if data.startswith(LEGACY) or (len(data) > 200 and b"\x00\x00" in data[:64] and b"learner" not in data[:200]):
            raise LegacyFormatError("it is of XGBoost's old binary format")
        raise ValueError("it does not begin as XGBoost's JSON or UBJSON does")
    try:
        document = json.loads(data, object_pairs_hook=_once) if _is_json(data) else read_ubjson(data)
    except (RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no document of XGBoost: {error}") from error
    try:
        return _facts(document)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"a part of it is missing or of another kind: {type(error).__name__} {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # of two, XGBoost may go by the other
        raise ValueError("a key is there twice")
    return found


def _is_json(data: bytes) -> bool:
    return data[1:64].lstrip()[:1] in (b'"', b"}")


def _facts(document: Any) -> XgboostFacts:
    learner = document["learner"]
    parameters = learner["learner_model_param"]
    features, classes = int(parameters["num_feature"]), int(parameters["num_class"])
    targets = int(parameters.get("num_target", 1))
    outputs = max(classes, targets, 1)
    if features < 0 or outputs > MOST_OUTPUTS or (features + 1) * outputs > MOST_CONTRIBUTIONS:
        raise ValueError(f"it has {features} features and {outputs} outputs")
    booster = learner["gradient_booster"]
    name = str(booster["name"])
    if name == "dart":
        weights, booster = booster["weight_drop"], booster["gbtree"]
        if len(weights) != len(booster["model"]["trees"]):
            raise ValueError(f"it has {len(weights)} weights of trees for {len(booster['model']['trees'])} trees")
    if name in ("gbtree", "dart"):
        _check_trees(booster["model"], features, outputs)
    elif name == "gblinear":
        weights = booster["model"]["weights"]
        if len(weights) != (features + 1) * outputs:
            raise ValueError(f"it has {len(weights)} weights for {features} features and {outputs} outputs")
    else:
        raise ValueError(f"its booster is '{name}', none of XGBoost's")
    attributes = learner.get("attributes", {})
    best = attributes.get("best_iteration")
    return XgboostFacts(
        objective=str(learner["objective"]["name"]),
        booster=name,
        outputs=outputs,
        features=features,
        version=".".join(str(int(one)) for one in document.get("version", [])),
        best_iteration=None if best is None else int(best),
    )


def _check_trees(model: Any, features: int, outputs: int) -> None:
    trees = model["trees"]
    count = int(model["gbtree_model_param"]["num_trees"])
    info = whole_numbers(model["tree_info"], "tree_info")
    if not len(trees) == len(info) == count:
        raise ValueError(f"{count} trees are announced, and there are {len(trees)}, of {len(info)} outputs")
    if info.size and (info.min() < 0 or info.max() >= outputs):
        raise ValueError(f"a tree is for output {info.max()} of {outputs}")
    if "iteration_indptr" in model:
        steps = whole_numbers(model["iteration_indptr"], "iteration_indptr")
        if steps.size and (steps[0] != 0 or steps[-1] != count or (np.diff(steps) < 0).any()):
            raise ValueError(f"the iterations do not end with the last of {count} trees")
    for number, tree in enumerate(trees):
        if tree.get("id", number) != number:  # by which XGBoost gives it its place
            raise ValueError(f"tree {number} has the number of another one")
        _check_tree(tree, features, f"tree {number}")


_PER_NODE = ("parents", "split_conditions", "default_left", "split_type", "sum_hessian", "loss_changes")


def _check_tree(tree: Any, features: int, what: str) -> None:
    if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise ValueError(
            f"the leaves of {what} are vectors, and such trees cannot be checked; train with "
            "multi_strategy='one_output_per_tree'"
        )
    left = whole_numbers(tree["left_children"], f"left_children of {what}")
    right = whole_numbers(tree["right_children"], f"right_children of {what}")
    check_nodes(left, right, whole_numbers(tree["split_indices"], f"split_indices of {what}"), features, what)
    count = int(tree["tree_param"]["num_nodes"])
    if count != len(left):
        raise ValueError(f"{what} announces {count} nodes, and has {len(left)}")
    for key in _PER_NODE:
        if key in tree and len(tree[key]) != count:
            raise ValueError(f"{what} has {count} nodes, and {len(tree[key])} of {key}")
    if len(tree["base_weights"]) != count:
        raise ValueError(f"{what} has {count} nodes, and {len(tree['base_weights'])} of base_weights")
    parents = whole_numbers(tree["parents"], f"parents of {what}")
    inner = np.flatnonzero(left >= 0)
    if (parents[left[inner]] != inner).any() or (parents[right[inner]] != inner).any():
        raise ValueError(f"children of {what} name other parents")
    _check_categories(tree, count, what)


def _check_categories(tree: Any, count: int, what: str) -> None:
    nodes = whole_numbers(tree.get("categories_nodes", []), f"categories_nodes of {what}")
    starts = whole_numbers(tree.get("categories_segments", []), f"categories_segments of {what}")
    sizes = whole_numbers(tree.get("categories_sizes", []), f"categories_sizes of {what}")
    total = len(tree.get("categories", []))
    if not len(nodes) == len(starts) == len(sizes):
        raise ValueError(f"the categories of {what} are not whole")
    if nodes.size and (
        nodes.min() < 0 or nodes.max() >= count or min(starts.min(), sizes.min()) < 0 or (starts + sizes).max() > total
    ):
        raise ValueError(f"categories of {what} are out of range")
    categories = whole_numbers(tree.get("categories", []), f"categories of {what}")
    if categories.size and (categories.min() < 0 or categories.max() >= 1 << 24):
        raise ValueError(f"{what} has a category {categories.max()}")
    split_types = whole_numbers(tree.get("split_type", []), f"split_type of {what}")
    if not set(np.flatnonzero(split_types == 1)) <= set(nodes.tolist()):
        raise ValueError(f"a node of {what} asks for a category and has none")
