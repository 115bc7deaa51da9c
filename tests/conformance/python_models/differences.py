"""Where Atoll answers otherwise about Python models than the real server, on purpose, and why. Each entry is tested."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Different:
    """The answer to these steps of a scenario has this status (None: a document without one), and the texts in it."""

    scenario: str
    steps: tuple[str, ...]
    status: int | str | None
    texts: tuple[str, ...]
    why: str


_CODES = "The caller of another model is told the code of its error; the real server makes INTERNAL of each."
_ALL: tuple[Different, ...] = (
    Different("lab, call", ("lab, call: errors and their codes",), None, ("__ErrorCode.NOT_FOUND",), _CODES),
    Different("lab_async, async", ("lab_async, async: errors",), None, ("__ErrorCode.NOT_FOUND",), _CODES),
    Different(
        "lab, call",
        ("lab, call: is_model_ready of a version that is none",),
        None,
        ("False",),
        "What is no version is never ready; the real server raises an error.",
    ),
    Different(
        "lab, call",
        ("lab, call: load an unknown model",),
        None,
        ("failed to load 'nope', failed to poll from model repository: ",),
        "The text goes on with the cause.",
    ),
    Different(
        "lab, call",
        ("lab, call: load with a broken configuration",),
        None,
        ("failed to load 'other', failed to poll from model repository: Invalid config override",),
        "The same.",
    ),
    Different(
        "lab, metric errors",
        ("lab, metric errors: after the family",),
        None,
        ("[None, 1.0]",),
        "A metric keeps its family alive, so that the order in which Python frees them does not matter.",
    ),
    Different(
        "decoupled_reschedules_after_final",
        ("what was said: the log",),
        None,
        ("false",),
        "Any model may give requests back to the scheduler; after the final response there is nothing to give back.",
    ),
    Different(
        "optional inputs",
        ("the wrong one: optional",),
        400,
        ("missing required input(s) ['INPUT0']",),
        "The real server counts inputs, and takes a request that lacks one that the model needs.",
    ),
    Different(
        "execute_is_a_generator",
        ("first: execute_is_a_generator over HTTP",),
        500,
        ("Expected a list in the execute return, found type '<class 'generator'>'.", "model.py(18): execute"),
        "The text says what is wrong; the real server runs the generator as a coroutine.",
    ),
    Different(
        "execute_is_a_generator",
        ("second: execute_is_a_generator: ModelInfer",),
        "INTERNAL",
        ("Expected a list in the execute return, found type '<class 'generator'>'.", "model.py(18): execute"),
        "The same.",
    ),
    Different(
        "output_twice",
        ("second: output_twice: ModelInfer",),
        "OK",
        (
            "{'name': 'OUTPUT0', 'datatype': 'FP32', 'shape': ['2']}, {'name': 'OUTPUT0', 'datatype': 'FP32',".replace(
                "'", '"'
            ),
        ),
        "The real server writes both shapes into the first output.",
    ),
    Different(
        "plain_sends_twice",
        (
            "first: stream to plain_sends_twice",
            "second, with empty final responses: stream to plain_sends_twice",
        ),
        "OK",
        ('{"triton_final_response": {"bool_param": true}}',),
        "The one response of a model that is not decoupled is its last one.",
    ),
)


def _by_step(entries: tuple[Different, ...]) -> dict[tuple[str, str], Different]:
    table = {(entry.scenario, step): entry for entry in entries for step in entry.steps}
    assert len(table) == sum(len(entry.steps) for entry in entries), "a step stands in the table twice"
    return table


DIFFERENT = _by_step(_ALL)
