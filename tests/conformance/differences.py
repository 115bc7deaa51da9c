"""Where Atoll answers otherwise than the real server on purpose, and why. Each entry is tested."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """For these questions Atoll answers with `status` and, in an error, with `text` in it."""

    questions: tuple[str, ...]
    status: int | str
    text: str
    why: str


TOO_DEEP = "nested too deeply"
TOO_MANY = "has more elements than can be addressed"
NO_UTF8 = "must be UTF-8"

HTTP: tuple[Difference, ...] = (
    Difference(
        ("syntax: deep nesting", "syntax: deep nesting in inputs"),
        500,
        TOO_DEEP,
        "Nesting is bounded: nothing in a request needs thousands of levels.",
    ),
    Difference(
        ("data: beyond int32", "data: below int32"),
        400,
        "does not fit INT32",
        "Numbers that do not fit the data type are refused; the real server goes on with other numbers.",
    ),
    Difference(
        (
            *("UINT8 element: 256", "UINT8 element: 4294967296", "UINT16 element: 65536", "UINT32 element: 4294967296"),
            *("INT8 element: 128", "INT8 element: -129", "INT8 element: 300", "INT16 element: 32768"),
        ),
        400,
        "does not fit",
        "The same.",
    ),
    Difference(
        (f"FP64 element: {10**30}",),
        200,
        "1e+30",
        "Numbers are read exactly; the real server is off by one unit in the last place here.",
    ),
    Difference(
        ("an input too many",),
        400,
        "missing required input(s) []",
        "The real server's text lacks the opening bracket.",
    ),
    Difference(
        ("shape of an input: []",),
        500,
        "Shape does not match true shape of 'data' field",
        "A shape of no dimensions has one element, so 16 are too many; the real server reads no data for it.",
    ),
    Difference(
        ("shape of an input: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ",),
        400,
        "has 300 dimensions",
        "The number of dimensions is bounded: none of the runtimes takes more.",
    ),
    Difference(
        (
            "shape of an input: [4294967296, 4294967296]",
            "identity_fp32 [1099511627776, 1099511627776] of 00000000000000000000000000000000, said 16",
            "identity_bytes [1099511627776, 1099511627776] of , said 0",
        ),
        400,
        TOO_MANY,
        "Sizes that overflow are refused before anything is multiplied; the real server goes on with the remainder.",
    ),
    Difference(
        (
            "identity_bytes [1, 2] of 02000000fffe0100000000, said 11",
            "identity_bytes [1, 2] of 02000000fffe0100000000, said 11, binary out",
        ),
        400,
        NO_UTF8,
        "ONNX Runtime's Python interface takes strings, which ONNX defines as UTF-8.",
    ),
    Difference(
        (
            *("header length abc", "header length 0x10", "header length 1.5", "header length 10abc"),
            "header length +5",
        ),
        400,
        "inference header size should be in range (0, 338)",
        "A length that is not a number is refused; the real server takes the digits that it begins with, or 0.",
    ),
    Difference(
        ("raw request: 15 bytes to identity_fp32", "raw request: 20 bytes to matrix"),
        400,
        "input byte size mismatch for input 'INPUT0'",
        "The input is called by its name, not by 'raw_input'.",
    ),
    Difference(
        ("raw request: 0 bytes to identity_fp32", "no body"),
        200,
        '"data":[]',
        "An answer that is only JSON holds its data as JSON; the real server announces a binary part and sends none.",
    ),
)

GRPC: tuple[Difference, ...] = (
    Difference(
        ("raw BYTES [1, 2] of 090000006100000000",),
        "INVALID_ARGUMENT",
        "expecting string of length 9 but only 5 bytes available",
        "The text names the length that lies, as over HTTP, where the real server says so too.",
    ),
    Difference(
        (r"typed BYTES as bytes_contents [b'a', b'\xff\x00']",),
        "INVALID_ARGUMENT",
        NO_UTF8,
        "ONNX Runtime's Python interface takes strings, which ONNX defines as UTF-8.",
    ),
    Difference(
        ("typed UINT8 as uint_contents [1, 256]", "typed INT8 as int_contents [-1, 300]"),
        "INVALID_ARGUMENT",
        "does not fit",
        "As over HTTP: the real server goes on with other numbers.",
    ),
    Difference(
        ("an input too many",),
        "INVALID_ARGUMENT",
        "missing required input(s) []",
        "The real server's text lacks the opening bracket.",
    ),
)


def by_question(differences: tuple[Difference, ...]) -> dict[str, Difference]:
    """The table by question; a question stands in it once."""
    table = {name: difference for difference in differences for name in difference.questions}
    assert len(table) == sum(len(difference.questions) for difference in differences), (
        "a question stands in the table twice"
    )
    return table
