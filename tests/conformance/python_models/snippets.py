# ruff: noqa: E501  (tables of code: one question, one line)
"""Code that the `lab` models run: what pb_utils answers to its callers, and what calls to other models bring back.

Each leaves what is to be told in `result`; `raised(f, ...)` is what f raises or returns.
"""

BLOCKS: dict[str, str] = {}
"""By name; the part before the colon says which model runs it: `lab`, `async` or `decoupled`."""

_TENSORS = {
    "of a list": 'result = raised(pb_utils.Tensor, "X", [1.0])',
    "of a number": 'result = raised(pb_utils.Tensor, "X", 3)',
    "of a numpy scalar": 'result = raised(pb_utils.Tensor, "X", np.float32(3))',
    "of None": 'result = raised(pb_utils.Tensor, "X", None)',
    "without an array": 'result = raised(pb_utils.Tensor, "X")',
    "without anything": "result = raised(pb_utils.Tensor)",
    "named by a number": "result = raised(pb_utils.Tensor, 5, np.zeros(2))",
    "without a name": 'result = raised(pb_utils.Tensor, "", np.zeros(2))',
    "of complex numbers": 'result = raised(pb_utils.Tensor, "X", np.zeros(2, np.complex64))',
    "of unicode": 'result = raised(pb_utils.Tensor, "X", np.array(["abc"]))',
    "of dates": 'result = raised(pb_utils.Tensor, "X", np.zeros(2, "datetime64[s]"))',
    "of the other byte order": 'result = raised(pb_utils.Tensor, "X", np.zeros(2, ">f4"))',
    "of fixed bytes": 'result = pb_utils.Tensor("X", np.array([b"a", b"bc"]))',
    "of objects": 'result = pb_utils.Tensor("X", np.array([b"a", "bc", 5], object))',
    "of a None object": 'result = raised(pb_utils.Tensor, "X", np.array([None], object))',
    "of no elements": 'result = pb_utils.Tensor("X", np.zeros((0, 3), np.float32))',
    "of no dimensions": 'result = pb_utils.Tensor("X", np.zeros((), np.float32)).shape()',
    "of half precision": 'result = pb_utils.Tensor("X", np.array([1.5], np.float16))',
    "name, shape, place": 't = pb_utils.Tensor("X", np.zeros((2, 3))); result = [t.name(), t.shape(), t.is_cpu()]',
    "the array is the caller's": 'b = np.zeros(3); t = pb_utils.Tensor("X", b); b[0] = 5; result = t.as_numpy()',
    "as_numpy again": 't = pb_utils.Tensor("X", np.zeros(2)); result = t.as_numpy() is t.as_numpy()',
    "of every second element": 'result = pb_utils.Tensor("X", np.arange(6, dtype=np.float32)[::2])',
    "in Fortran's order": 'a = np.asfortranarray(np.arange(6.0).reshape(2, 3)); result = pb_utils.Tensor("X", a)',
    "transposed": 'result = pb_utils.Tensor("X", np.arange(6.0).reshape(2, 3).T)',
    "Fortran's order is changed": """
a = np.asfortranarray(np.arange(6.0).reshape(2, 3))
flags = pb_utils.Tensor("X", a).as_numpy().flags
result = [flags["C_CONTIGUOUS"], flags["WRITEABLE"]]""",
    "received BYTES": """
t = pb_utils.get_input_tensor_by_name(request, "CODE")
result = [t.shape(), t.as_numpy().dtype.str, type(t.as_numpy()[0]).__name__, t.as_numpy().flags["WRITEABLE"]]""",
    "dlpack device": 'result = pb_utils.Tensor("X", np.zeros(2)).__dlpack_device__()',
    "dlpack to numpy": 'result = np.from_dlpack(pb_utils.Tensor("X", np.arange(3)))',
    "dlpack capsule": 'result = type(pb_utils.Tensor("X", np.arange(3)).to_dlpack()).__name__',
    "from a capsule": """
t = pb_utils.Tensor("X", np.arange(3))
result = pb_utils.Tensor.from_dlpack("Y", t.to_dlpack())""",
    "from a tensor": """
t = pb_utils.Tensor("X", np.arange(3))
result = pb_utils.Tensor.from_dlpack("Y", t)""",
    "from_dlpack of a number": 'result = raised(pb_utils.Tensor.from_dlpack, "X", 5)',
    "from_dlpack of a transposed array": 'result = raised(pb_utils.Tensor.from_dlpack, "X", np.arange(6).reshape(2, 3).T)',
    "dlpack of BYTES": 'result = raised(pb_utils.Tensor("X", np.array([b"a"], object)).to_dlpack)',
}

_REQUEST = (
    "request.request_id()", "request.correlation_id()", "request.flags()", "request.timeout()", "request.parameters()",
    "request.requested_output_names()", "request.is_cancelled()", "type(request.trace()).__name__",
    "raised(lambda: request.trace().get_context())", "[tensor.name() for tensor in request.inputs()]",
)  # fmt: skip

_CONSTRUCTION: dict[str, tuple[str, ...]] = {
    "correlation_id": ("5", "'abc'", "2**63", "'x' * 200", "True", "1.5", "b'x'", "None"),
    "parameters": ("{}", "{'a': 1, 'b': True, 'c': 'x'}", "None", "{'a': 1.5}", "{'a': []}", "{1: 2}", "{'a': None}"),
    "timeout": ("5", "-1", "'x'", "1.5", "2**70"),
    "model_version": ("1", "-1", "0", "2**40", "'1'", "None", "2**63"),
    "flags": ("0", "3", "2**31", "2**32", "-1", "'x'"),
    "request_id": ("'a'", "5", "None"),
    "requested_output_names": ("[]", "['A']", "['']", "[5]", "5", "None"),
    "inputs": ("[]", "[np.zeros(2)]", "None", "5"),
    "model_name": ("'a'", "''", "5", "None"),
}

_REQUESTS = {
    **{f"received {expression}": f"result = {expression}" for expression in _REQUEST},
    **{
        f"made with {name}={value}": f"""
options = {{"model_name": "identity", "inputs": [], "requested_output_names": [], {name!r}: {value}}}
made = raised(pb_utils.InferenceRequest, **options)
result = made if isinstance(made, Exception) else "made" """
        for name, values in _CONSTRUCTION.items()
        for value in values
    },
    "made without anything": "result = raised(pb_utils.InferenceRequest)",
    "made without a model": "result = raised(pb_utils.InferenceRequest, inputs=[], requested_output_names=[])",
    "made with an unknown option": """
result = raised(pb_utils.InferenceRequest, model_name="a", inputs=[], requested_output_names=[], other=1)""",
    "made by position": """
tensor = pb_utils.Tensor("INPUT0", np.ones(2, np.float32))
result = pb_utils.InferenceRequest("id", 5, [tensor], ["OUTPUT0"], "identity").exec()""",
    "what it was made with": """
r = request_to("identity", request_id="mine", correlation_id="c", timeout=7, flags=3, parameters={"a": 1, "b": True})
names = [tensor.name() for tensor in r.inputs()]
result = [r.request_id(), r.correlation_id(), r.timeout(), r.flags(), r.parameters(), r.requested_output_names(), names]""",
    "set_flags": "result = [request.set_flags(3), request.flags()]",
    "set_flags of text": 'result = raised(request.set_flags, "x")',
    "set_flags below zero": "result = raised(request.set_flags, -1)",
    "set_release_flags of text": 'result = raised(request.set_release_flags, "x")',
    "set_release_flags of anything": "result = [raised(request.set_release_flags, flag) for flag in (0, 3, 7, 1)]",
    "one sender": """
result = [request.get_response_sender() is request.get_response_sender(), request.get_response_sender().is_cancelled()]""",
    "initialize's arguments": """
kept = {key: value for key, value in model.args.items() if key not in ("model_config", "model_repository")}
result = [sorted(kept.items()), os.path.basename(model.args["model_repository"])]""",
    "the configuration": """
import json

config = json.loads(model.args["model_config"])
result = [config[key] for key in ("name", "backend", "max_batch_size", "input", "output", "parameters", "instance_group")]""",
    "where the model is": """
result = [os.path.basename(pb_utils.get_model_dir()), __name__, os.path.dirname(__file__) == pb_utils.get_model_dir()]""",
    "the model's folder is on the path": "result = pb_utils.get_model_dir() in sys.path",
}

_RESPONSES = {
    "without anything": "result = pb_utils.InferenceResponse()",
    "without outputs": "r = pb_utils.InferenceResponse([]); result = [r.has_error(), r.error(), r.output_tensors()]",
    "of None": "result = raised(pb_utils.InferenceResponse, None)",
    "of numbers": "result = raised(pb_utils.InferenceResponse, [5])",
    "of a tensor": 'result = raised(pb_utils.InferenceResponse, pb_utils.Tensor("X", np.zeros(1)))',
    "with text for an error": 'result = raised(pb_utils.InferenceResponse, [], "text")',
    "with both": """
tensor = pb_utils.Tensor("RESULT", np.array([b"x"], object))
result = pb_utils.InferenceResponse(output_tensors=[tensor], error=pb_utils.TritonError("both"))""",
    "error": 'e = pb_utils.TritonError("m"); result = [e.message(), e.code(), isinstance(e, Exception)]',
    "error with a number for a code": 'result = raised(pb_utils.TritonError, "x", 3)',
    "error with text for a code": 'result = raised(pb_utils.TritonError, "x", "NOT_FOUND")',
    "error of a number": "result = raised(pb_utils.TritonError, 5)",
    "error without text": "result = raised(pb_utils.TritonError)",
    "codes": """
names = "UNKNOWN INTERNAL NOT_FOUND INVALID_ARG UNAVAILABLE UNSUPPORTED ALREADY_EXISTS CANCELLED".split()
result = [getattr(pb_utils.TritonError, name) for name in names]""",
    "the codes' numbers": "result = [int(pb_utils.TritonError.CANCELLED), int(pb_utils.TritonError.UNKNOWN)]",
    "exception": """
result = [pb_utils.TritonModelException("x"), [kind.__name__ for kind in pb_utils.TritonModelException.__mro__]]""",
}

_CALLS = {
    "exec": 'result = request_to("identity").exec()',
    "exec twice": 'r = request_to("identity"); result = [r.exec(), r.exec()]',
    "where it is": 't = request_to("identity").exec().output_tensors()[0]; result = [t.shape(), t.is_cpu()]',
    "unknown model": 'result = request_to("nope").exec()',
    "unknown version": 'result = request_to("identity", model_version=7).exec()',
    "versions": 'result = [request_to("identity", model_version=version).exec() for version in (1, 0, -1)]',
    "errors and their codes": 'result = [request_to("refuse", (float(code),)).exec() for code in range(8)]',
    "no outputs named": 'result = request_to("identity", requested_output_names=[]).exec()',
    "an unknown output": 'result = request_to("identity", requested_output_names=["NOPE"]).exec()',
    "one of two outputs": """
inputs = [pb_utils.Tensor(name, np.full((1, 2), 3, np.float32)) for name in ("INPUT0", "INPUT1")]
r = pb_utils.InferenceRequest(model_name="add_sub", inputs=inputs, requested_output_names=["OUTPUT1"])
result = r.exec()""",
    "two outputs": """
inputs = [pb_utils.Tensor(name, np.full((1, 2), 3, np.float32)) for name in ("INPUT0", "INPUT1")]
r = pb_utils.InferenceRequest(model_name="add_sub", inputs=inputs, requested_output_names=["OUTPUT1", "OUTPUT0"])
result = r.exec()""",
    "an input less": """
inputs = [pb_utils.Tensor("INPUT0", np.ones((1, 2), np.float32))]
result = pb_utils.InferenceRequest(model_name="add_sub", inputs=inputs, requested_output_names=["OUTPUT0"]).exec()""",
    "another data type": """
inputs = [pb_utils.Tensor("INPUT0", np.ones((1, 2))), pb_utils.Tensor("INPUT1", np.ones((1, 2), np.float32))]
result = pb_utils.InferenceRequest(model_name="add_sub", inputs=inputs, requested_output_names=["OUTPUT0"]).exec()""",
    "too many rows": """
inputs = [pb_utils.Tensor(name, np.ones((9, 2), np.float32)) for name in ("INPUT0", "INPUT1")]
result = pb_utils.InferenceRequest(model_name="add_sub", inputs=inputs, requested_output_names=["OUTPUT0"]).exec()""",
    "a plain call of a decoupled model": 'result = request_to("repeat").exec()',
    "a decoupled model": 'result = list(request_to("repeat", (1.0, 2.0, 3.0)).exec(decoupled=True))',
    "a decoupled model's iterator": 'result = type(request_to("repeat").exec(decoupled=True)).__name__',
    "a plain model as a decoupled one": 'result = list(request_to("identity").exec(decoupled=True))',
    "an unknown model as a decoupled one": 'result = list(request_to("nope").exec(decoupled=True))',
    "beyond the last response": """
responses = request_to("repeat").exec(decoupled=True)
result = [next(responses), next(responses), raised(next, responses), raised(next, responses)]""",
    "the responses again": """
responses = request_to("repeat").exec(decoupled=True)
result = [list(responses), list(responses)]""",
    "many responses": 'result = len(list(request_to("repeat", (1.0,) * 500).exec(decoupled=True)))',
    "what the called one sees": """
code = b"result = [request.request_id(), request.correlation_id(), request.parameters(), request.timeout()]"
r = pb_utils.InferenceRequest(
    model_name="lab_async", inputs=[pb_utils.Tensor("CODE", np.array([code], object))],
    requested_output_names=["RESULT"], request_id="inner", correlation_id=9, timeout=5000000,
    parameters={"p": 1, "q": "x", "b": False},
)
result = r.exec()""",
    "BYTES there and back": """
code = "result = 'h\\u00e9'".encode()
tensors = [pb_utils.Tensor("CODE", np.array([code], object))]
result = pb_utils.InferenceRequest(model_name="lab_async", inputs=tensors, requested_output_names=["RESULT"]).exec()""",
    "longer than its timeout": 'result = request_to("slow", (0.3,), timeout=1000).exec()',
    "from threads": """
from concurrent.futures import ThreadPoolExecutor

with ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(lambda number: request_to("identity", (float(number),)).exec(), range(40)))
result = [float(answer.output_tensors()[0].as_numpy()[0]) for answer in answers] == list(range(40))""",
    "async_exec without a loop": 'result = raised(request_to("identity").async_exec)',
    "preferred memory": """
memory = pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0)
result = request_to("identity", preferred_memory=memory).exec()""",
    "memory types": "result = [pb_utils.TRITONSERVER_MEMORY_GPU, pb_utils.TRITONSERVER_MEMORY_CPU]",
    "preferred memory of a number": "result = raised(pb_utils.PreferredMemory, 5)",
    "with a trace": 'result = request_to("identity", trace=request.trace()).exec()',
    "is_model_ready": """
questions = [("identity",), ("identity", "1"), ("identity", "7"), ("nope",)]
result = [pb_utils.is_model_ready(*question) for question in questions]""",
    "is_model_ready of a version that is none": 'result = raised(pb_utils.is_model_ready, "identity", "x")',
    "is_model_ready of a number": 'result = raised(pb_utils.is_model_ready, "identity", 1)',
    "unload and load": """
before = [pb_utils.unload_model("other"), pb_utils.is_model_ready("other"), request_to("other").exec()]
result = [*before, pb_utils.load_model("other"), pb_utils.is_model_ready("other"), request_to("other").exec()]""",
    "load an unknown model": 'result = raised(pb_utils.load_model, "nope")',
    "load with a broken configuration": 'result = raised(pb_utils.load_model, "other", "{")',
    "load with files that are none": 'result = raised(pb_utils.load_model, "other", "", "x")',
    "load by keywords": 'result = pb_utils.load_model(model_name="other", config="", files={})',
    "load a number": "result = raised(pb_utils.load_model, 5)",
    "unload an unknown model": 'result = pb_utils.unload_model("nope")',
    "unload with dependents": """
result = [pb_utils.unload_model("other", unload_dependents=True), pb_utils.load_model("other")]""",
}

_SEQUENCES = {
    "a sequence": """
def send(value, flags):
    tensor = pb_utils.Tensor("INPUT0", np.full((1, 1), value, np.float32))
    names = ["OUTPUT0"]
    made = pb_utils.InferenceRequest(
        model_name="accumulate", inputs=[tensor], requested_output_names=names, correlation_id=42, flags=flags
    )
    return made.exec()


start, end = pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END
result = [send(1, start), send(2, 0), send(3, end)]""",
    "a sequence without an id": """
tensor = pb_utils.Tensor("INPUT0", np.ones((1, 1), np.float32))
r = pb_utils.InferenceRequest(model_name="accumulate", inputs=[tensor], requested_output_names=["OUTPUT0"])
result = r.exec()""",
}

_FAMILY = 'F = pb_utils.MetricFamily\nfamily = F(name="{name}", description="{name}", kind=F.{kind})\n'


def _metric(kind: str, action: str, name: str, made: str = "") -> str:
    family = _FAMILY.format(name=name, kind=kind)
    return f"{family}metric = family.Metric({made})\nmodel.kept[{name!r}] = (family, metric)\nresult = {action}"


def _metric_error(kind: str, action: str, name: str, made: str = "") -> str:
    family = _FAMILY.format(name=name, kind=kind)
    return f"{family}metric = family.Metric({made})\nresult = raised({action})"


_METRICS = {
    "a counter": _metric(
        "COUNTER", "[metric.value(), metric.increment(2), metric.value()]", "lab_counter", "labels={'a': '1'}"
    ),
    "a gauge": _metric("GAUGE", "[metric.set(3.5), metric.increment(-1), metric.value()]", "lab_gauge"),
    "a histogram": _metric(
        "HISTOGRAM",
        "[metric.observe(2), metric.observe(100)]",
        "lab_histogram",
        "labels={'b': 'x'}, buckets=[1, 2.5, 10]",
    ),
    "labels to be escaped": _metric("COUNTER", "metric.increment(1)", "lab_escaped", "labels={'a': 'q\"\\\\\\n'}"),
    "the same labels": _metric(
        "COUNTER",
        "[metric.increment(1), family.Metric(labels={'a': '1'}).increment(1), metric.value()]",
        "lab_same",
        "labels={'a': '1'}",
    ),
    "the same family": """
F = pb_utils.MetricFamily
families = [F("lab_again", text, F.COUNTER) for text in ("first", "second")]
first, second = (family.Metric() for family in families)
first.increment(1)
result = second.value()""",
    "fractions": _metric("COUNTER", "[metric.increment(1.5), metric.value()]", "lab_fraction"),
}

_METRIC_ERRORS = {
    "a counter that goes back": _metric_error("COUNTER", "metric.increment, -1", "lab_e1"),
    "a counter that is set": _metric_error("COUNTER", "metric.set, 1", "lab_e2"),
    "a counter that observes": _metric_error("COUNTER", "metric.observe, 1", "lab_e3"),
    "a gauge that observes": _metric_error("GAUGE", "metric.observe, 1", "lab_e4"),
    "a histogram's value": _metric_error("HISTOGRAM", "metric.value", "lab_e5", "buckets=[1]"),
    "a histogram that is set": _metric_error("HISTOGRAM", "metric.set, 1", "lab_e6", "buckets=[1]"),
    "a histogram that counts": _metric_error("HISTOGRAM", "metric.increment, 1", "lab_e7", "buckets=[1]"),
    "increment of text": _metric_error("COUNTER", "metric.increment, 'x'", "lab_e8"),
    "labels of text": _metric_error("COUNTER", "family.Metric, labels='text'", "lab_e9"),
    "labels of numbers": _metric_error("COUNTER", "family.Metric, labels={'a': 1}", "lab_e10"),
    "a label's name": _metric_error("COUNTER", "family.Metric, labels={'bad-name': 'x'}", "lab_e11"),
    "buckets for a counter": _metric_error("COUNTER", "family.Metric, buckets=[1]", "lab_e12"),
    "no buckets": _metric_error("HISTOGRAM", "family.Metric", "lab_e13", "buckets=[1]"),
    "buckets of text": _metric_error("HISTOGRAM", "family.Metric, labels={}, buckets='x'", "lab_e14", "buckets=[1]"),
    "buckets in a tuple": _metric_error("HISTOGRAM", "family.Metric, buckets=(1, 2)", "lab_e15", "buckets=[1]"),
    "buckets that fall": _metric_error("HISTOGRAM", "family.Metric, buckets=[3, 2, 1]", "lab_e16", "buckets=[1]"),
    "a family without a name": 'F = pb_utils.MetricFamily\nresult = raised(F, name="", description="x", kind=F.COUNTER)',
    "a family's name": 'F = pb_utils.MetricFamily\nresult = raised(F, name="1 bad", description="x", kind=F.COUNTER)',
    "a family of another kind": """
F = pb_utils.MetricFamily
family = F(name="lab_kind", description="x", kind=F.COUNTER)
result = raised(F, name="lab_kind", description="x", kind=F.GAUGE)""",
    "a family of no kind": 'result = raised(pb_utils.MetricFamily, name="lab_y", description="x", kind=5)',
    "a family by half": 'result = raised(pb_utils.MetricFamily, name="lab_y")',
    "after the family": """
import gc

F = pb_utils.MetricFamily
family = F("lab_gone", "x", F.COUNTER)
metric = family.Metric()
del family
gc.collect()
result = [raised(metric.increment, 1), raised(metric.value)]""",
    "kinds": "F = pb_utils.MetricFamily; result = [F.COUNTER, F.GAUGE, F.HISTOGRAM]",
}

_LOGGER = {
    "every level": """
logger = pb_utils.Logger
logger.log("lab plain")
logger.log("lab of a level", logger.WARNING)
logger.log_info("lab info")
logger.log_warn("lab warning")
logger.log_error("lab error")
logger.log_verbose("lab verbose")
logger.log("lab verbose, too", logger.VERBOSE)
result = None""",
    "two lines": 'result = pb_utils.Logger.log_info("lab two\\nlines")',
    "a number": "result = raised(pb_utils.Logger.log_info, 5)",
    "a level that is none": 'result = raised(pb_utils.Logger.log, "x", 5)',
    "without text": "result = raised(pb_utils.Logger.log_info)",
    "an object": "result = raised(pb_utils.Logger)",
    "levels": "L = pb_utils.Logger; result = [int(level) for level in (L.INFO, L.WARNING, L.ERROR, L.VERBOSE)]",
    "printed": 'print("lab printed", flush=True); print("lab printed an error", file=sys.stderr, flush=True)',
}

_HELPERS = {
    "serialize": 'result = pb_utils.serialize_byte_tensor(np.array([b"a", "bc", 5], object))',
    "serialize nothing": "result = pb_utils.serialize_byte_tensor(np.zeros(0, object))",
    "serialize numbers": "result = pb_utils.serialize_byte_tensor(np.zeros(2))",
    "deserialize": 'result = pb_utils.deserialize_bytes_tensor(b"\\x01\\0\\0\\0a\\0\\0\\0\\0")',
    "deserialize half": 'result = type(raised(pb_utils.deserialize_bytes_tensor, b"\\x05\\0\\0\\0a")).__name__',
    "types of text": 'result = [pb_utils.triton_string_to_numpy(name) for name in ("TYPE_STRING", "TYPE_FP16")]',
    "type of unknown text": 'result = raised(pb_utils.triton_string_to_numpy, "TYPE_NOPE")',
    "types of numbers": "result = [pb_utils.triton_to_numpy_type(number) for number in (0, 11, 13, 99)]",
    "numbers of types": """
result = [pb_utils.numpy_to_triton_type(kind) for kind in (np.bool_, np.float32, np.object_, np.complex64)]""",
    "configuration by name": """
import json

config = json.loads(model.args["model_config"])
found = [pb_utils.get_input_config_by_name(config, "CODE")["dims"], pb_utils.get_output_config_by_name(config, "NOPE")]
result = [*found, pb_utils.using_decoupled_model_transaction_policy(config)]""",
    "tensors by name": """
response = request_to("identity").exec()
result = [pb_utils.get_output_tensor_by_name(response, "OUTPUT0"), pb_utils.get_output_tensor_by_name(response, "NOPE")]""",
}

_ASYNC = {
    "async_exec": 'result = await request_to("identity").async_exec()',
    "several": """
calls = [request_to("identity", (float(number),)).async_exec() for number in range(10)]
result = [type(calls[0]).__name__, await asyncio.gather(*calls)]""",
    "errors": 'result = [await request_to("refuse", (float(code),)).async_exec() for code in range(8)]',
    "an unknown model": 'result = await request_to("nope").async_exec()',
    "a decoupled model": 'result = list(await request_to("repeat").async_exec(decoupled=True))',
    "a plain call of a decoupled model": 'result = await request_to("repeat").async_exec()',
    "exec": 'result = request_to("identity").exec()',
    "the loop goes on": """
ticks = []


async def tick():
    while True:
        await asyncio.sleep(0.01)
        ticks.append(1)


task = asyncio.ensure_future(tick())
await request_to("slow", (0.5,)).async_exec()
task.cancel()
result = len(ticks) > 5""",
    "an exception": 'await asyncio.sleep(0.01); raise ValueError("told to fail")',
}

_DECOUPLED = {
    "responses": 'sender.send(response_of("one")); sender.send(response_of("two")); result = "three"',
    "only the flag": "sender.send(flags=1); finished = True",
    "wrong things": """
result = [
    raised(sender.send), raised(sender.send, None), raised(sender.send, 5), raised(sender.send, response_of("x"), 7),
    raised(sender.send, flags=2), raised(sender.send, response_of("y"), 2), raised(sender.send, flags=-1),
]""",
    "after the final one": """
sender.send(response_of("one"), 1)
finished = True
model.kept["after"] = [raised(sender.send, response_of("two")), raised(sender.send, flags=1)]""",
    "what was raised": 'result = model.kept["after"]',
    "an error among them": """
sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError("told to fail", pb_utils.TritonError.NOT_FOUND)))
result = "after the error" """,
    "no outputs": 'sender.send(pb_utils.InferenceResponse([])); result = "after an empty one"',
    "another output": """
sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OTHER", np.zeros(1))]))
result = "after another output" """,
    "later, from a thread": """
finished = True
threading.Timer(0.2, lambda: sender.send(response_of("late"), 1)).start()""",
    "a call": 'result = [request_to("identity").exec()]',
    "a call of a decoupled model": 'result = list(request_to("repeat").exec(decoupled=True))',
}

for _model, _title, _table in (
    ("lab", "tensor", _TENSORS), ("lab", "request", _REQUESTS), ("lab", "response", _RESPONSES), ("lab", "call", _CALLS),
    ("lab", "sequence", _SEQUENCES),
    ("lab", "metric", _METRICS),
    ("lab", "metric errors", _METRIC_ERRORS), ("lab", "logger", _LOGGER), ("lab", "helper", _HELPERS),
    ("lab_async", "async", _ASYNC), ("lab_decoupled", "decoupled", _DECOUPLED),
):  # fmt: skip
    BLOCKS.update({f"{_model}, {_title}: {_name}": _code.strip() for _name, _code in _table.items()})
