"""Questions about inference requests as JSON documents: syntax, members, their types, and what is asked for."""

import json
from collections.abc import Iterator

from tests.conformance.questions import FIRST, SECOND, Question, ask, pair, request

TEXT = json.dumps(request())


def questions() -> Iterator[Question]:
    yield ask("infer", request())
    yield from _syntax()
    yield from _top_level()
    yield from _outputs()
    yield from _parameters()
    yield from _inputs()


def _syntax() -> Iterator[Question]:
    texts = {
        "nothing": "",
        "a space": " ",
        "an opened object": "{",
        "a closed object": "}",
        "an empty object": "{}",
        "an array": "[]",
        "null": "null",
        "a number": "1",
        "a string": '"x"',
        "cut in a value": TEXT[:60],
        "cut before the end": TEXT[:-1],
        "cut in a string": TEXT[:14],
        "cut in an array": TEXT[:90],
        "a letter behind": TEXT + "x",
        "an object behind": TEXT + "{}",
        "a comma too many": TEXT.replace("16]", "16,]", 1),
        "single quotes": "{'a':1}",
        "an array closed by a brace": '{"inputs":[}',
        "NaN for inputs": '{"inputs":NaN}',
        "a leading zero": '{"a":01}',
        "an unknown escape": '{"a":"\\x"}',
        "half a surrogate pair": '{"a":"\\ud800"}',
        "a wrong low surrogate": '{"a":"\\ud800\\u0041"}',
        "a wrong unicode escape": '{"a":"\\u00zz"}',
        "a number beyond a double": '{"a":1e999}',
        "a byte order mark": "\ufeff" + TEXT,
        "a comment": "// c\n" + TEXT,
        "a number without its whole part": '{"a":.5}',
        "a number without its fraction": '{"a":1.}',
        "a number without its exponent": '{"a":1e}',
        "a minus alone": '{"a":-}',
        "a cut literal": '{"a":tru}',
        "a missing colon": '{"a" 1}',
        "a missing value": '{"a":}',
        "two empty members of one name": '{"inputs":[],"inputs":[]}',
        "a number as a name": "{1:2}",
    }
    for name, text in texts.items():
        yield ask(f"syntax: {name}", text)
    yield ask("syntax: bytes that are no UTF-8 in the id", b'{"id":"\xff\xfe","inputs":[]}')
    yield ask("syntax: a NUL first", b"\x00\x01")
    yield ask("syntax: a control character in a string", b'{"a":"\x01"}')
    yield ask("syntax: deep nesting", "[" * 100_000 + "]" * 100_000)
    yield ask("syntax: deep nesting in inputs", '{"inputs":' + "[" * 100_000 + "]" * 100_000 + "}")


def _top_level() -> Iterator[Question]:
    for value in ("[]", "{}", "null", '"x"', "1", "[1]", '["a"]', "[null]", "[[]]", "[{}]"):
        yield ask(f"inputs: {value}", f'{{"inputs":{value}}}')
    for value in ("abc", "", 'a"b\\/é\n\x01<>', "x" * 2000, 1, None, True, [], {}, 1.5):
        yield ask(f"id: {json.dumps(value)[:40]}", request(id=value))
    yield ask("an unknown member", request(foo=1))
    yield ask("id in an error", {"id": "my-id", "inputs": [FIRST]})
    yield ask("id in an error about an unknown input", {"id": "my-id", "inputs": [{**FIRST, "name": "X"}, SECOND]})


def _outputs() -> Iterator[Question]:
    for value in (
        *(None, {}, "x", 1, [], [1], ["a"], [None], [{}]),
        *([{"name": name}] for name in (1, None, "", "NOPE", "INPUT0", "OUTPUT1")),
        [{"name": "OUTPUT1"}, {"name": "OUTPUT0"}],
        [{"name": "OUTPUT1"}, {"name": "OUTPUT1"}],
        [{"name": "OUTPUT1", "parameters": {"binary_data": True}}, {"name": "OUTPUT1"}],
        [{"name": "OUTPUT1"}, {"name": "OUTPUT1", "parameters": {"binary_data": True}}],
        [{"name": "OUTPUT1", "parameters": {"binary_data": True}}, {"name": "OUTPUT0"}],
        [{"name": name, "parameters": {"binary_data": True}} for name in ("OUTPUT0", "OUTPUT1")],
        *(
            [{"name": "OUTPUT0", "parameters": parameters}]
            for parameters in (
                1,
                None,
                {},
                {"binary_data": 1},
                {"binary_data": "true"},
                {"binary_data": None},
                {"foo": 1},
            )
        ),
    ):
        yield ask(f"outputs: {json.dumps(value)}", request(outputs=value))
    for value in (True, False):
        yield ask(f"binary_data_output: {value}", request(parameters={"binary_data_output": value}))
    listed = [{"name": "OUTPUT0"}]
    yield ask("binary_data_output with outputs", request(outputs=listed, parameters={"binary_data_output": True}))
    said = [{"name": "OUTPUT0", "parameters": {"binary_data": False}}]
    yield ask(
        "binary_data_output with outputs that say", request(outputs=said, parameters={"binary_data_output": True})
    )


def _parameters() -> Iterator[Question]:
    for value in (
        *(None, [], 1, "x", {}, {"": "x"}, {"foo": "bar", "n": 1, "b": True, "d": 1.5}),
        *({"a": a} for a in (None, [], {}, 1.5, -1, 2**63, 2**64, 10**30)),
        *({"binary_data_output": a} for a in (1, "x", None)),
        *({"priority": a} for a in (1, -1, "x", 1.5, 2**63, 2**64, None)),
        *({"timeout": a} for a in (0, 1_000_000, -1, "x", 1.5)),
        *({"sequence_id": a} for a in (1, "x", -1, 1.5, True, None)),
        *({"sequence_start": a} for a in (True, 1, "x")),
        *({"sequence_end": a} for a in (True, 1)),
        *({"headers": a} for a in ({}, "x")),
        {"triton_foo": 1},
        {"triton_enable_empty_final_response": True},
    ):
        yield ask(f"parameters: {json.dumps(value)}", {"parameters": value, "inputs": [FIRST, SECOND]})


def _inputs() -> Iterator[Question]:
    for field, values in {
        "name": (..., 1, None, "", "NOPE", "INPUT1", "OUTPUT0", 'a"b\\<é'),
        "datatype": (
            ...,
            1,
            None,
            "",
            "FOO",
            "int32",
            "TYPE_INT32",
            "FP32",
            "INT64",
            "UINT32",
            "BYTES",
            "FP16",
            "BF16",
        ),
        "shape": (..., None, "x", 16, ["1", "16"], [1.0, 16], [1.5, 16], [None, 16], [True, 16], [[1], 16]),
        "parameters": (None, 1, {}, {"foo": 1}, {"binary_data_size": 64}),
    }.items():
        for value in values:
            shown = "missing" if value is ... else json.dumps(value)
            yield ask(f"{field} of an input: {shown}", pair(**{field: value}))
    for value in ("64", -1, 1.5, None, 64, 2**63, 2**64):
        yield ask(f"binary_data_size: {json.dumps(value)}", pair(data=..., parameters={"binary_data_size": value}))
    yield ask("no data", pair(data=...))
    yield ask("no data, other parameters", pair(data=..., parameters={"foo": 1}))
    yield ask("an unknown member of an input", pair(foo=1))
    yield ask("an input missing", {"inputs": [FIRST]})
    yield ask("the wrong input alone", {"inputs": [{**FIRST, "name": "X"}]})
    yield ask("an input twice", {"inputs": [FIRST, FIRST]})
    yield ask("an input twice, all there", {"inputs": [FIRST, SECOND, SECOND]})
    yield ask("an input too many", {"inputs": [FIRST, SECOND, {**SECOND, "name": "X"}]})
    yield ask("two unknown inputs", {"inputs": [{**FIRST, "name": "X"}, {**SECOND, "name": "Y"}]})
    yield ask("unknown input and output", {"inputs": [{**FIRST, "name": "X"}, SECOND], "outputs": [{"name": "Q"}]})
    yield ask("wrong type and unknown output", {**pair(datatype="FP32"), "outputs": [{"name": "Q"}]})
    yield ask("inputs in the other order", {"inputs": [SECOND, FIRST]})
