"""LightGBM's text files, looked through before LightGBM reads them, which ends the process over those that are cut off
or damaged. Pure.
"""

import re
from dataclasses import dataclass

import numpy as np

from atoll.backends.tabular.tree_checks import check_nodes
from atoll.tensor import Array

_END = "end of trees"
_MOST_LINES = 22  # that LightGBM reads of a tree
_WHOLE = re.compile(r"-?[0-9]{1,10}")
# Of these LightGBM reads the digits that a word begins with, whatever follows: 1e1 is one there, and ten elsewhere.
_INTEGERS = frozenset(
    {"left_child", "right_child", "split_feature", "cat_boundaries", "cat_threshold", "decision_type"}
)


@dataclass(frozen=True, slots=True)
class LightgbmFacts:
    """`outputs`: how many numbers the model gives for a row."""

    objective: str
    outputs: int
    features: int
    feature_names: tuple[str, ...] = ()


def read_lightgbm(data: bytes) -> LightgbmFacts:
    """What the file says. Raises ValueError saying what is wrong with it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text: {error}") from error
    start = text.lstrip()
    if start.startswith("{"):
        raise ValueError(
            "it is JSON, as LightGBM's dump_model() gives, and LightGBM cannot read that back; save the model with "
            "save_model('model.txt')"
        )
    head, _, rest = start.partition("\nTree=")
    if not head.startswith("tree"):
        raise ValueError("it does not begin as LightGBM's text does")
    trees, end, _ = f"\nTree={rest}".partition(f"\n{_END}")
    if not end or not rest:
        raise ValueError(f"it has no line '{_END}': it is cut off")
    facts = _facts(_fields(head))
    _check_parts(_fields(head), trees, facts)
    return facts


def trees_alone(data: bytes) -> str:
    """The text without what follows the trees: how they were trained, which no prediction needs, and over the damage of
    which LightGBM would end the process.
    """
    trees = data.decode().partition(f"\n{_END}")[0].lstrip()
    return f"{trees}\n{_END}\n\npandas_categorical:null\n"


def _fields(block: str) -> dict[str, str]:
    """By key. Raises ValueError for one that is there twice: LightGBM may go by the other."""
    found: dict[str, str] = {}
    for line in block.replace("\r\n", "\n").split("\n"):
        key, mark, value = line.partition("=")
        if mark and key in found:
            raise ValueError(f"it has '{key[:80]}' twice in one part")
        if mark:
            found[key] = value
    return found


def _facts(fields: dict[str, str]) -> LightgbmFacts:
    names = tuple(fields.get("feature_names", "").split(" "))
    features = _number(fields, "max_feature_idx", "the head") + 1
    if len(names) != features or len(fields.get("feature_infos", "").split(" ")) != features:
        raise ValueError(f"it has {features} features and {len(names)} names of them")
    outputs = _number(fields, "num_tree_per_iteration", "the head")
    if not 1 <= outputs <= 1 << 20 or not 1 <= _number(fields, "num_class", "the head") <= outputs:
        raise ValueError(f"it has {outputs} trees an iteration for {fields.get('num_class')} classes")
    return LightgbmFacts(fields.get("objective", "").split(" ")[0], outputs, features, names)


def _check_parts(fields: dict[str, str], trees: str, facts: LightgbmFacts) -> None:
    blocks = trees.split("\nTree=")[1:]
    sizes = fields.get("tree_sizes")
    announced = len(sizes.split()) if sizes is not None else len(blocks)
    if announced != len(blocks):
        raise ValueError(f"{announced} trees are announced, and there are {len(blocks)}: it is cut off or damaged")
    if len(blocks) % facts.outputs:
        raise ValueError(f"{len(blocks)} trees are no whole iterations of {facts.outputs}")
    for number, block in enumerate(blocks):
        if sizes is not None:
            found, wanted = len(f"Tree={block}\n".encode()), sizes.split()[number]
            if wanted != str(found):  # LightGBM jumps by these
                raise ValueError(f"tree {number} has {found} bytes where {wanted} are announced")
        what = f"tree {number}"
        _check_tree(_fields(block), facts.features, what)
        _check_lines(block, what)


def _check_lines(block: str, what: str) -> None:
    """LightGBM takes a line without "=" and what follows it for one key, and reads up to an empty line."""
    body, _, rest = block.partition("\n")[2].replace("\r\n", "\n").partition("\n\n")
    lines = body.rstrip("\n").split("\n")
    if rest.strip("\n") or len(lines) > _MOST_LINES:
        raise ValueError(f"{what} does not end as it should")
    if not all("=" in line and line.isascii() and line.isprintable() for line in lines):
        raise ValueError(f"{what} has a line that is no key with its value")


_PER_SPLIT = ("split_gain", "internal_value", "internal_weight", "internal_count", "threshold", "decision_type")
_PER_LEAF = ("leaf_value", "leaf_weight", "leaf_count")


def _check_tree(fields: dict[str, str], features: int, what: str) -> None:
    leaves = _number(fields, "num_leaves", what)
    categories = _number(fields, "num_cat", what)
    splits = leaves - 1
    if leaves < 1 or categories < 0:
        raise ValueError(f"{what} has {leaves} leaves and {categories} splits by categories")
    if fields.get("is_linear", "0").strip() not in ("0", ""):
        raise ValueError(f"{what} is linear, and such trees cannot be checked; train with linear_tree=false")
    _values(fields, "leaf_value", leaves, what)
    for key in _PER_LEAF:
        if key in fields and leaves > 1:
            _values(fields, key, leaves, what)
    if splits == 0:
        return
    for key in _PER_SPLIT:
        if key in fields or key in ("threshold", "decision_type"):
            _values(fields, key, splits, what)
    left = _values(fields, "left_child", splits, what).astype(np.int64)
    right = _values(fields, "right_child", splits, what).astype(np.int64)
    asked = _values(fields, "split_feature", splits, what).astype(np.int64)
    check_nodes(*_as_nodes(left, right, asked, leaves, what), features, what)
    if categories or (_values(fields, "decision_type", splits, what).astype(np.int64) & 1).any():
        _check_categories(fields, categories, splits, what)


def _as_nodes(left: Array, right: Array, asked: Array, leaves: int, what: str) -> tuple[Array, Array, Array]:
    """LightGBM's numbering, where a negative child is leaf ~child, as nodes followed by leaves."""
    splits = len(left)
    both = np.concatenate([left, right])
    if both.max() >= splits or both.min() < -leaves:
        raise ValueError(f"a node of {what} leads out of its {splits} nodes and {leaves} leaves")
    ends = np.full(leaves, -1)
    left, right = (np.where(one >= 0, one, splits + ~one) for one in (left, right))
    return np.concatenate([left, ends]), np.concatenate([right, ends]), np.concatenate([asked, np.zeros_like(ends)])


def _check_categories(fields: dict[str, str], categories: int, splits: int, what: str) -> None:
    bounds = _values(fields, "cat_boundaries", categories + 1, what).astype(np.int64)
    words = _values(fields, "cat_threshold", None, what)
    if bounds[0] != 0 or (np.diff(bounds) < 0).any() or bounds[-1] != len(words):
        raise ValueError(f"the categories of {what} are out of range")
    by_category = _values(fields, "decision_type", splits, what).astype(np.int64) & 1
    which = _values(fields, "threshold", splits, what)[by_category == 1]
    if not ((which >= 0) & (which < categories)).all():  # NaN is neither
        raise ValueError(f"a node of {what} asks for category {which.max():.0f} of {categories}")


def _values(fields: dict[str, str], key: str, count: int | None, what: str) -> Array:
    text = fields.get(key, "").rstrip("\r")
    words = text.split()
    if key in _INTEGERS and not all(map(_WHOLE.fullmatch, words)):
        raise ValueError(f"{key} of {what} has what is no whole number")
    if not (text.isascii() and text.isprintable()) or "_" in text:
        raise ValueError(f"{key} of {what} has what is no number")
    try:
        found = np.array(words, np.float64)
    except ValueError as error:
        raise ValueError(f"{key} of {what} has what is no number: {error}") from error
    if count is not None and len(found) != count:
        raise ValueError(f"{what} has {len(found)} of {key} where {count} are announced")
    return found


def _number(fields: dict[str, str], key: str, what: str) -> int:
    found = fields.get(key, "").strip()
    if not _WHOLE.fullmatch(found):
        raise ValueError(f"{what} has no number '{key}'")
    return int(found)
