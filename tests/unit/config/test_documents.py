"""JSON and YAML texts: what they mean, where each member stands, and what hostile ones run into."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.config.document_reader import read_document
from atoll.config.documents import MAX_DEPTH, Document, DocumentError, read_json
from atoll.config.model_config import ModelConfig
from atoll.config.override import read_override
from atoll.config.yaml_document import MAX_YAML, read_yaml
from atoll.errors import ConfigError

JSON_PIECES = [*'{}[]:,"\\', '"a"', "1", "-", "true", "nul", " ", "\n", "\x00", "é"]
YAML_PIECES = [*"{}[]'\"#", "a", ": ", "- ", "\n", "  ", "&x ", "*x", "!!str ", "|\n", "---\n", "\t", "\x00"]
documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@settings(deadline=None)
@given(documents, st.booleans(), st.booleans())
def test_json_is_read_as_the_library_reads_it(document: Any, indented: bool, escaped: bool) -> None:
    text = json.dumps(document, indent=2 if indented else None, ensure_ascii=escaped)
    assert read_json(text, "f").value == json.loads(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*'{}[]:,"\\', '"a"', "1", "-", "true", "nul", " ", "\n", "\x00", "é"]), max_size=12).map(
        "".join
    )
)
def test_what_json_refuses_is_refused(text: str) -> None:
    try:
        wanted, wrong = json.loads(text), False
    except ValueError:
        wanted, wrong = None, True
    try:
        found = read_json(text, "f").value
    except DocumentError as error:
        found = None
        # the library lets the last of equal keys win
        assert wrong or "given twice" in str(error)
        assert error.problem.line
    assert found is None or found == wanted


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40) | st.lists(st.sampled_from(YAML_PIECES)).map("".join))
def test_any_text_is_a_yaml_document_or_an_error(text: str) -> None:
    try:
        value = read_yaml(text, "f").value
    except DocumentError as error:
        str(error.problem).encode()
        assert str(error.problem).startswith("f")
    else:
        json.dumps(value)  # nothing but plain data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        ("a: no", {"a": "no"}),
        ("a: On", {"a": "On"}),
        ("a: 1:30", {"a": "1:30"}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: true", {"a": True}),
        ("a: 'true'", {"a": "true"}),
        ("a: !!str true", {"a": "true"}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: 0o17", {"a": 15}),
        ("a: 0x1F", {"a": 31}),
        ("a: 017", {"a": 17}),
        ("a: -1", {"a": -1}),
        ("a: 1.5e3", {"a": 1500.0}),
        ("a: .inf", {"a": "Infinity"}),
        ("a: -.inf", {"a": "-Infinity"}),
        ("a: .nan", {"a": "NaN"}),
        ("a: ${X}", {"a": "${X}"}),
        ('a: "\\ud83d\\ude00"', {"a": "😀"}),
        ("a: |\n  b\n  c\n", {"a": "b\nc\n"}),
        ("base: &x {b: [1]}\na: *x", {"base": {"b": [1]}, "a": {"b": [1]}}),
    ],
)
def test_what_yaml_means(text: str, value: Any) -> None:
    assert read_yaml(text, "f").value == value


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\na: 2", 2, "the key is given twice. Found 'a', as in line 1"),
        ("a: [", 1, "expected the node content"),
        ("a: b: c", 1, "mapping values are not allowed here"),
        ("\ta: 1", 1, "cannot start any token"),
        ("a: !!python/object/apply:os.system ['true']", 1, "a tag that is not known. Found tag:yaml.org,2002:python"),
        ("a: !env X", 1, "a tag that is not known. Found !env"),
        ("a: *x", 1, "an alias of nothing"),
        ("a: &x [*x]", 1, "an alias of nothing"),
        ("? [a]\n: 1", 1, "a key that is no text"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("a: " + "[" * 1000, 1, "the document is nested too deep"),
        ("b: 1\na: \x00", 2, "special characters are not allowed"),
        ("# " + "x" * MAX_YAML, 0, "the file is too big to be read as YAML"),
    ],
)
def test_what_is_wrong_with_yaml(text: str, line: int, says: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_yaml(text, "f")
    assert caught.value.problem.line == line
    assert says in str(caught.value.problem)


def test_aliases_that_multiply_are_refused() -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 12):
        laughs += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    with pytest.raises(DocumentError, match="the document is too big"):
        read_yaml(laughs, "f")


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("", 1, 1, "Unexpected end of string. Expected a value."),
        ("{", 1, 2, "Unexpected end of string. Expected an object key or }."),
        ('{"a": tru}', 1, 7, "Unexpected token."),
        ('{"a": python}', 1, 7, "Texts stand in double quotes."),
        ('{"a": 1\n "b": 2}', 2, 2, "Expected , or } after key:value pair."),
        ('{"a": 1,\n}', 2, 1, "Remove the comma before it."),
        ('{"a" 1}', 1, 6, "Expected : between key:value pair."),
        ("[1 2]", 1, 4, "Expected , or ] after array value."),
        ("{} {}", 1, 4, "Expected end-of-document"),
        ('{"a": 1, "a": 2}', 1, 10, "the key is given twice"),
        ('{"a": "x\n"}', 1, 9, "Invalid control character"),
        ('{"a": "\\q"}', 1, 8, "Invalid \\escape"),
        ("9" * 1000, 1, 1, "Expected a value."),
        ("[" * 100_000, 1, MAX_DEPTH + 2, "the document is nested too deep"),
        ('{"a":' * 100_000, 1, 5 * (MAX_DEPTH + 1) + 1, "the document is nested too deep"),
        ("// a comment\n{}", 1, 1, "Expected a value."),
        ("NaN", 1, 1, "Unexpected token."),
    ],
)
def test_what_is_wrong_with_json(text: str, line: int, column: int, says: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_json(text, "f")
    problem = caught.value.problem
    assert (problem.line, problem.column) == (line, column)
    assert says in str(problem)


@pytest.mark.parametrize(
    "text", ["[" + "1," * 200_000 + "1]", "{" + ",".join(f'"{index}":1' for index in range(200_000)) + "}"]
)
def test_json_of_too_many_members_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="the document is too big"):
        read_json(text, "f")


def test_an_override_says_where_it_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"^Invalid config override: Expected , or } .* \(line 1, column 21\)"):
        read_override('{"backend":"python" "x"}')
    with pytest.raises(ConfigError, match="the text is too big"):
        read_override(" " * (5 << 20))
    with pytest.raises(ConfigError, match=r"Root element must be a message"):
        read_override("[]")


def test_an_override_sees_no_environment() -> None:
    assert read_override('{"default_model_filename": "${HOME}"}').default_model_filename == "${HOME}"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"backend": 8}, 'Quote it: "8".'),
        ({"backend": True}, 'Quote it: "true".'),
        ({"parameters": {"a": "b"}}, 'Write {"string_value": "b"}.'),
        ({"parameters": {"a": 1}}, "invalid value 1 for type type.googleapis.com/inference.ModelParameter"),
        ({"inptu": []}, "Did you mean 'input'?"),
        ({"input": [{"data_type": "fp32"}]}, "Did you mean 'TYPE_FP32'?"),
        ({"backend": "\ud800"}, "invalid value"),
        ({"\ud800": 1}, "Cannot find field."),
        ({"name\n": 1}, "Did you mean 'name'?"),
        ({"max_batch_size": 10**500}, "invalid value"),
        ({"max_batch_size": "1" * 500}, "invalid value"),
    ],
)
def test_values_that_do_not_fit(document: Any, says: str) -> None:
    problems = read_document(Document(document, {}), ModelConfig).problems
    text = str(problems[0])
    text.encode()
    assert says in text
    assert len(text) < 1000


def test_a_document_of_mistakes_is_given_up() -> None:
    document = {f"nope{index}": 1 for index in range(1000)} | {"input": [{"dims": "x"}] * 1000}
    assert len(read_document(Document(document, {}), ModelConfig).problems) == 20


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ('{"a": 1 // c\n}', "Remove the comment: JSON has none."),
        ('{# c\n"a": 1}', "Remove the comment: JSON has none."),
        ('{"a": /* c */ 1}', "Remove the comment: JSON has none."),
        ('{"a": 1\n"b": 2}', "Put a comma between the two."),
        ('["a" "b"]', "Put a comma between the two."),
        ('{"a": 1,}', "Remove the comma before it."),
    ],
)
def test_what_to_do_about_json(text: str, remedy: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_json(text, "f")
    assert caught.value.problem.remedy == remedy


@pytest.mark.parametrize(
    ("text", "line", "remedy"),
    [
        ("a:\n\t- b\n", 2, "Indent with spaces"),
        ("a:\n- b: 1\n c: 2\n", 3, "in the same column"),
        ("a: b: c\n", 1, "in the same column"),
        ("a: 1\nb\nc: 2\n", 3, "each with a :"),
    ],
)
def test_what_to_do_about_yaml(text: str, line: int, remedy: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_yaml(text, "f")
    assert caught.value.problem.line == line
    assert remedy in caught.value.problem.remedy
