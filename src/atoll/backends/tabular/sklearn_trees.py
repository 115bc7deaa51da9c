"""The trees in models of scikit-learn: prediction follows their nodes blindly, so they are looked at when loaded.

What skops leaves untrusted for that reason alone can so be trusted.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from atoll.backends.tabular.tree_checks import check_nodes

MOST_OBJECTS = 10_000_000
_TREE = "sklearn.tree._tree.Tree"
_PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
# Their trees are given the rows unchecked, so the trees must be for rows of that width.
_UNCHECKED = ("sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.ensemble._iforest")


def check_trees(model: object) -> None:
    """Raises ValueError where a node leads out of its tree, or asks for a feature that its rows do not have."""
    known: set[int] = set()
    for one in _parts(model):
        kind = _kind(one)
        if kind == _TREE:
            _check_tree(one)
        if kind in (_TREE, _PREDICTOR) and id(one) not in known:
            raise ValueError("it has a tree outside of a model of trees")
        if hasattr(one, "__dict__"):
            known.update(_check_owner(one))


def _check_owner(owner: Any) -> Iterator[int]:
    """The trees that belong to it, whose features it says how many there are."""
    own = vars(owner)
    features = own.get("n_features_in_")
    if "tree_" in own:
        if own["tree_"].n_features != features:
            raise ValueError(f"a tree is for rows of {own['tree_'].n_features} features, its model for {features}")
        yield id(own["tree_"])
    if type(owner).__module__.startswith(_UNCHECKED) and "estimators_" in own:
        _check_ensemble(own, features)
    for tree in _flat(own.get("_predictors", ())):
        if _kind(tree) != _PREDICTOR:
            raise ValueError(f"a {type(tree).__name__} is in the place of a tree")
        _check_predictor(tree, features)
        yield id(tree)


def _check_ensemble(own: dict[str, Any], features: object) -> None:
    per_round = own.get("n_trees_per_iteration_")
    if per_round is not None and np.shape(own["estimators_"])[1:] != (per_round,):
        raise ValueError(f"it has rounds of {np.shape(own['estimators_'])[1:]} trees where {per_round} are announced")
    trees = list(_flat(own["estimators_"]))
    subsets = own.get("estimators_features_", [None] * len(trees))
    for tree, subset in zip(trees, subsets, strict=True):
        width = features if subset is None else len(subset)
        if getattr(tree, "n_features_in_", None) != width:
            raise ValueError(f"a tree is for rows of other than {width} features")


def _check_tree(tree: Any) -> None:
    leaves = tree.children_left == -1
    left, right = (np.where(leaves, -1, one) for one in (tree.children_left, tree.children_right))
    if (left < -1).any() or (right[~leaves] < 0).any() or (tree.children_right[leaves] != -1).any():
        raise ValueError("a node of a tree has one child, not two")
    check_nodes(left, right, tree.feature, tree.n_features, "a tree")


def _check_predictor(tree: Any, features: object) -> None:
    nodes = tree.nodes
    inner = nodes["is_leaf"] == 0
    left, right = (np.where(inner, nodes[one].astype(np.int64), -1) for one in ("left", "right"))
    asked = np.where(inner, nodes["feature_idx"].astype(np.int64), 0)
    check_nodes(left, right, asked, features if isinstance(features, int) else 0, "a tree")
    wanted = nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)]
    for one in (tree.binned_left_cat_bitsets, tree.raw_left_cat_bitsets):
        if wanted.size and wanted.max() >= len(one):
            raise ValueError("a node of a tree asks for categories that are not there")


def _parts(model: object) -> Iterator[Any]:
    """All objects that can be reached from the model, each after one that holds it."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        one = waiting.pop()
        if isinstance(one, (str, bytes, int, float, bool, type(None), type)) or id(one) in seen:
            continue
        seen.add(id(one))
        if len(seen) > MOST_OBJECTS:
            raise ValueError(f"it has more than {MOST_OBJECTS} parts")
        yield one
        if isinstance(one, np.ndarray):
            waiting.extend(one.ravel().tolist() if one.dtype == np.object_ else ())
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, (list, tuple, set, frozenset)):
            waiting.extend(one)
        elif hasattr(one, "__dict__"):
            waiting.extend(vars(one).values())


def _flat(found: Any) -> Iterator[Any]:
    if isinstance(found, (list, tuple)):
        for one in found:
            yield from _flat(one)
    elif isinstance(found, np.ndarray):
        yield from found.ravel().tolist()
    else:
        yield found


def _kind(one: object) -> str:
    return f"{type(one).__module__}.{type(one).__qualname__}"
