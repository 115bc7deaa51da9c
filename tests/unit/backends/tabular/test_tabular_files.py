"""Files of XGBoost and LightGBM as data: what they say, and that damage is found. Neither library is needed."""

import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends.tabular.lightgbm_file import read_lightgbm, trees_alone
from atoll.backends.tabular.tree_checks import check_nodes, whole_numbers
from atoll.backends.tabular.ubjson import read_ubjson
from atoll.backends.tabular.xgboost_file import LegacyFormatError, read_xgboost


def ubjson(value: Any) -> bytes:
    """As XGBoost writes it."""
    if isinstance(value, bool):
        return b"T" if value else b"F"
    if value is None:
        return b"Z"
    if isinstance(value, int):
        return b"L" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"D" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"S" + text(value)
    if isinstance(value, np.ndarray):
        kind = {"f4": b"d", "i4": b"l", "u1": b"U"}[value.dtype.str[1:]]
        return (
            b"[$" + kind + b"#L" + struct.pack(">q", len(value)) + value.astype(value.dtype.newbyteorder(">")).tobytes()
        )
    if isinstance(value, dict):
        return b"{" + b"".join(text(key) + ubjson(one) for key, one in value.items()) + b"}"
    return b"[" + b"".join(map(ubjson, value)) + b"]"


def text(value: str) -> bytes:
    data = value.encode()
    return b"L" + struct.pack(">q", len(data)) + data


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


@given(documents)
def test_ubjson_comes_back_as_it_went(document: Any) -> None:
    assert read_ubjson(ubjson(document)) == document


@given(st.binary(max_size=300))
def test_any_bytes_are_a_document_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        read_ubjson(data)


@given(documents, st.data())
def test_what_is_cut_off_is_no_document(document: Any, data: Any) -> None:
    whole = ubjson({"a": document})
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError):
        read_ubjson(whole[:length])


def test_ubjson_announces_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="are announced"):
        read_ubjson(b"[$d#L" + struct.pack(">q", 2**60))
    with pytest.raises(ValueError, match=r"are announced|it ends"):
        read_ubjson(b"[#L" + struct.pack(">q", 2**60))
    with pytest.raises(ValueError, match="nested"):
        read_ubjson(b"[" * 5000)


def stump(**changes: Any) -> dict[str, Any]:
    """One split of feature 1 and two leaves."""
    return {
        "left_children": [1, -1, -1],
        "right_children": [2, -1, -1],
        "parents": [2147483647, 0, 0],
        "split_indices": [1, 0, 0],
        "split_conditions": [0.5, -1.0, 1.0],
        "default_left": [1, 0, 0],
        "base_weights": [0.0, -1.0, 1.0],
        "tree_param": {"num_nodes": "3", "num_feature": "4", "size_leaf_vector": "1"},
        **changes,
    }


def xgboost_document(*trees: dict[str, Any], **learner: Any) -> dict[str, Any]:
    model = {
        "trees": list(trees),
        "tree_info": [0] * len(trees),
        "iteration_indptr": list(range(len(trees) + 1)),
        "gbtree_model_param": {"num_trees": str(len(trees)), "num_parallel_tree": "1"},
    }
    return {
        "learner": {
            "learner_model_param": {"num_feature": "4", "num_class": "0", "num_target": "1"},
            "gradient_booster": {"name": "gbtree", "model": model},
            "objective": {"name": "binary:logistic"},
            "attributes": {"best_iteration": "3"},
            **learner,
        },
        "version": [3, 1, 2],
    }


@pytest.mark.parametrize("encode", [lambda one: json.dumps(one).encode(), ubjson])
def test_what_an_xgboost_file_says(encode: Any) -> None:
    found = read_xgboost(encode(xgboost_document(stump(), stump())))
    assert (found.objective, found.booster, found.outputs, found.features) == ("binary:logistic", "gbtree", 1, 4)
    assert (found.version, found.best_iteration) == ("3.1.2", 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"left_children": [3, -1, -1]}, "leads to node 3 of 3"),
        ({"left_children": [1, -195, -1], "right_children": [2, -195, -1]}, "leads to node -195 of 3"),
        ({"left_children": [2, -1, -1]}, "two nodes of tree 0 lead to the same"),
        ({"left_children": [0, -1, -1]}, "lead to the same one"),
        ({"left_children": [-1, -1, -1]}, "one child"),
        ({"split_indices": [4, 0, 0]}, "asks for feature 4 of 4"),
        ({"split_indices": [0, 0]}, "2 features"),
        ({"parents": [2147483647, 0, 1]}, "other parents"),
        ({"base_weights": [0.0]}, "1 of base_weights"),
        ({"split_conditions": [0.0]}, "1 of split_conditions"),
        ({"left_children": "abc"}, "not a list of whole numbers"),
        ({"left_children": [], "right_children": [], "split_indices": []}, "has no nodes"),
        ({"tree_param": {"num_nodes": "4"}}, "announces 4 nodes"),
        ({"id": 1}, "has the number of another one"),
        ({"tree_param": {"num_nodes": "3", "size_leaf_vector": "6"}}, "leaves of tree 0 are vectors"),
        ({"categories_nodes": [0], "categories_segments": [0], "categories_sizes": [5]}, "out of range"),
        ({"split_type": [1, 0, 0]}, "asks for a category and has none"),
    ],
)
def test_damage_in_a_tree_is_found(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_xgboost(json.dumps(xgboost_document(stump(**changes))).encode())


def test_a_key_that_is_there_twice_is_refused() -> None:
    """Of two lists of children XGBoost may read the other one, which nobody has checked."""
    harmful = "[99, -1, -1]"
    whole = json.dumps(xgboost_document(stump()))
    twice = whole.replace('"left_children":', f'"left_children": {harmful}, "left_children":')
    assert twice != whole
    with pytest.raises(ValueError, match="a key is there twice"):
        read_xgboost(twice.encode())
    with pytest.raises(ValueError, match="is there twice"):
        read_ubjson(b"{" + (text("a") + b"T") * 2 + b"}")


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_class", "1073741824"), ("num_target", "2147483647"), ("num_feature", "2000000000"), ("num_feature", "-5")],
)
def test_a_few_bytes_of_xgboost_cannot_ask_for_a_machines_memory(key: str, value: str) -> None:
    document = xgboost_document(stump())
    document["learner"]["learner_model_param"][key] = value
    with pytest.raises(ValueError, match=r"it has -?\d+ features and \d+ outputs"):
        read_xgboost(json.dumps(document).encode())


def test_the_weights_of_trees_are_as_many_as_the_trees() -> None:
    document = xgboost_document(stump(), stump())
    gbtree = document["learner"]["gradient_booster"]
    booster = {"name": "dart", "gbtree": gbtree, "weight_drop": [1.0, 1.0]}
    document["learner"]["gradient_booster"] = booster
    assert read_xgboost(json.dumps(document).encode()).booster == "dart"
    booster["weight_drop"] = [1.0]
    with pytest.raises(ValueError, match="1 weights of trees for 2 trees"):
        read_xgboost(json.dumps(document).encode())


def test_other_damage_in_a_file_of_xgboost_is_found() -> None:
    document = xgboost_document(stump())
    document["learner"]["gradient_booster"]["model"]["tree_info"] = [7]
    with pytest.raises(ValueError, match="for output 7 of 1"):
        read_xgboost(json.dumps(document).encode())
    document = xgboost_document(stump())
    document["learner"]["gradient_booster"]["model"]["iteration_indptr"] = [0, 9]
    with pytest.raises(ValueError, match="do not end with the last of 1 trees"):
        read_xgboost(json.dumps(document).encode())
    with pytest.raises(ValueError, match="none of XGBoost's"):
        read_xgboost(json.dumps(xgboost_document(gradient_booster={"name": "other"})).encode())
    with pytest.raises(LegacyFormatError):
        read_xgboost(b"binf" + bytes(100))
    with pytest.raises(ValueError, match="a part of it is missing"):
        read_xgboost(b'{"learner": {}}')


TREE = """Tree={number}
num_leaves=3
num_cat=0
split_feature=1 0
split_gain=1 1
threshold=0.5 0.25
decision_type=2 2
left_child=1 -1
right_child=-2 -3
leaf_value=0.1 0.2 0.3
leaf_weight=1 1 1
leaf_count=5 5 5
internal_value=0 0
internal_weight=0 0
internal_count=15 10
is_linear=0
shrinkage=0.1


"""


def lightgbm_text(*trees: str) -> bytes:
    blocks = [tree.replace("{number}", str(number)) for number, tree in enumerate(trees)]
    head = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\n"
        "objective=binary sigmoid:1\nfeature_names=a b\nfeature_infos=[0:1] [0:1]\n"
        f"tree_sizes={' '.join(str(len(one)) for one in blocks)}\n\n"
    )
    tail = "end of trees\n\nfeature_importances:\na=1\n\nparameters:\n[boosting: gbdt]\n\nend of parameters\n"
    return (head + "".join(blocks) + tail).encode()


def test_what_a_lightgbm_file_says() -> None:
    found = read_lightgbm(lightgbm_text(TREE, TREE))
    assert (found.objective, found.outputs, found.features, found.feature_names) == ("binary", 1, 2, ("a", "b"))
    alone = trees_alone(lightgbm_text(TREE, TREE))
    assert "parameters" not in alone
    assert alone.count("Tree=") == 2
    assert "\nend of trees\n" in alone


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("left_child=1 -1", "left_child=2 -1", "leads out of its 2 nodes"),
        ("left_child=1 -1", "left_child=0 -1", "lead to the same one"),
        ("right_child=-2 -3", "right_child=-2 -9", "and 3 leaves"),
        ("right_child=-2 -3", "right_child=-2 -2", "lead to the same one"),
        ("split_feature=1 0", "split_feature=2 0", "asks for feature 2 of 2"),
        ("threshold=0.5 0.25", "threshold=0.5 0.2x", "what is no number"),
        ("threshold=0.5 0.25", "threshold=0.5 .125 1", "has 3 of threshold where 2"),
        ("leaf_value=0.1 0.2 0.3", "leaf_value=0.1 0.2", "has 2 of leaf_value where 3"),
        ("num_leaves=3", "num_leaves=x", "no number 'num_leaves'"),
        ("num_leaves=3", "num_leaves=3_", "no number 'num_leaves'"),
        ("left_child=1 -1", "left_child=0.1e1 -1", "left_child of tree 0 has what is no whole number"),
        ("right_child=-2 -3", "right_child=-2 -0_3", "right_child of tree 0 has what is no whole number"),
        ("split_feature=1 0", "split_feature=1e0 0", "split_feature of tree 0 has what is no whole number"),
        ("threshold=0.5 0.25", "threshold=0.5\x0b0.25", "threshold of tree 0 has what is no number"),
        ("threshold=0.5 0.25", "threshold=0_5 0.25", "threshold of tree 0 has what is no number"),
        ("left_child=1 -1", "left_child=0 0\x0bleft_child=1 -1", "left_child of tree 0 has what is no whole number"),
        ("left_child=1 -1", "left_child=0 0\nleft_child=1 -1", "'left_child' twice"),
        ("num_cat=0", "num_cat=1", "cat_boundaries"),
        ("decision_type=2 2", "decision_type=2 1", "cat_boundaries"),
        ("is_linear=0", "is_linear=1", "is linear"),
        ("split_gain=1 1", "split_gain91 1", "a line that is no key with its value"),
        ("shrinkage=0.1", "shrinkage=0.1\r0", "a line that is no key with its value"),
        ("is_linear=0", "other=\x7f", "a line that is no key with its value"),
        ("split_gain=1 1", "", "does not end as it should"),
        ("is_linear=0", "\n".join(f"k{number}=" for number in range(9)), "does not end as it should"),
    ],
)
def test_damage_in_a_tree_of_lightgbm_is_found(old: str, new: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_lightgbm(lightgbm_text(TREE.replace(old, new)))


@pytest.mark.parametrize(("category", "words"), [("0", ""), ("1", "category 1 of 1"), ("nan", "category nan of 1")])
def test_the_categories_that_a_node_asks_for_are_there(category: str, words: str) -> None:
    tree = TREE.replace("num_cat=0", "num_cat=1\ncat_boundaries=0 1\ncat_threshold=4294967295")
    tree = tree.replace("decision_type=2 2", "decision_type=2 1").replace(
        "threshold=0.5 0.25", f"threshold=0.5 {category}"
    )
    if words:
        with pytest.raises(ValueError, match=words):
            read_lightgbm(lightgbm_text(tree))
    else:
        assert read_lightgbm(lightgbm_text(tree)).features == 2


def test_other_damage_in_a_file_of_lightgbm_is_found() -> None:
    whole = lightgbm_text(TREE, TREE)
    for length in range(0, whole.index(b"end of trees") + 12, 13):
        with pytest.raises(ValueError):
            read_lightgbm(whole[:length])
    with pytest.raises(ValueError, match="bytes where"):
        read_lightgbm(whole.replace(b"tree_sizes=2", b"tree_sizes=3"))
    with pytest.raises(ValueError, match="3 trees are announced"):
        read_lightgbm(whole.replace(b"\n\nTree=0", b" 9\n\nTree=0"))
    with pytest.raises(ValueError, match="JSON"):
        read_lightgbm(b'{"name": "tree"}')


@given(st.lists(st.tuples(st.integers(-3, 12), st.integers(-3, 12), st.integers(-2, 5)), min_size=1, max_size=10))
def test_whatever_passes_ends_in_a_leaf_from_every_node(nodes: list[tuple[int, int, int]]) -> None:
    left, right, features = (np.array(one) for one in zip(*nodes, strict=True))
    try:
        check_nodes(left, right, features, 4, "it")
    except ValueError:
        return
    waiting, steps = [0], 0
    while waiting:
        node = waiting.pop()
        steps += 1
        assert steps <= len(nodes)
        if left[node] >= 0:
            assert 0 <= features[node] < 4
            waiting += [int(left[node]), int(right[node])]


@pytest.mark.parametrize("value", [[1.5], ["a"], [[1]], None, {"a": 1}, [2**70]])
def test_what_is_no_list_of_whole_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="it is not a list of whole numbers"):
        whole_numbers(value, "it")
