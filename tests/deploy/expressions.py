"""What a PromQL expression names: metrics, the labels it looks for on each, and those that it groups by.

Not a parser: Prometheus itself parses each expression too, and says what is wrong with it.
"""

import re
from dataclasses import dataclass

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'")
_MADE = re.compile(r'\blabel_(?:replace|join)\s*\(.*?,\s*"(\w+)"', re.DOTALL)
_REMARK = re.compile(r"#.*")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"(?<![\w.:])([a-zA-Z_:][\w:]*)\s*(?:\{([^}]*)\})?(?!\s*\()(?![\w:])")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_WINDOW = re.compile(r"\[[^\]]*\]")
_WORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan", "atan2", "group_left", "group_right"}


@dataclass(frozen=True)
class Names:
    """`metrics`: the labels by which each is selected. `grouped`: labels in by(), on() and the like. `made`: labels
    that the expression itself makes.
    """

    metrics: dict[str, frozenset[str]]
    grouped: frozenset[str]
    made: frozenset[str]


def names(expression: str) -> Names:
    """Of an expression in which all variables were replaced."""
    made = frozenset(_MADE.findall(expression))
    text = _WINDOW.sub("", _REMARK.sub("", _TEXT.sub('""', expression)))
    grouped = {label.strip() for group in _GROUPING.findall(text) for label in group.split(",")} - {""}
    text = _GROUPING.sub(" ", text)
    metrics: dict[str, frozenset[str]] = {}
    for name, matchers in _SELECTOR.findall(text):
        if name.lower() not in _WORDS:
            labels = frozenset(_MATCHER.findall(matchers))
            metrics[name] = metrics.get(name, frozenset()) | labels
    return Names(metrics, frozenset(grouped), made)
