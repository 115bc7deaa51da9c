"""What is read of .pt2 files without PyTorch: trees of calls, programs, generated sources, archives."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.backends.pytorch.aot_facts import InputFacts, inputs_in, mismatch, package_facts
from atoll.backends.pytorch.archive import records_of
from atoll.backends.pytorch.call_spec import Leaf, input_leaves, output_leaves
from atoll.backends.pytorch.exported_facts import TENSOR, exported_facts
from atoll.tensor import DataType

LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}


def node(kind: str, *children: Any, keys: Any = None) -> dict[str, Any]:
    return {"type": f"builtins.{kind}", "context": json.dumps(keys), "children_spec": list(children)}


def spec(*positional: Any, **named: Any) -> str:
    tree = node("tuple", node("tuple", *positional), node("dict", *named.values(), keys=list(named)))
    return json.dumps([1, tree])


def test_the_leaves_of_a_call() -> None:
    found = input_leaves(spec(LEAF, node("dict", LEAF, LEAF, keys=["a", "b"]), node("list", LEAF), scale=LEAF))
    assert found == (Leaf("", True), Leaf("a", False), Leaf("b", False), Leaf("", False), Leaf("scale", False))


def test_the_leaves_of_a_result() -> None:
    assert output_leaves(json.dumps([1, LEAF])) == (Leaf("", True),)
    assert output_leaves(json.dumps([1, node("tuple", LEAF, node("tuple", LEAF))])) == (Leaf("", True), Leaf("", False))
    assert output_leaves(json.dumps([1, node("dict", LEAF, keys=["p"])])) == (Leaf("p", False),)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=13), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_any_other_json_is_no_tree(document: Any) -> None:
    for read in (input_leaves, output_leaves):
        with pytest.raises(ValueError):
            read(json.dumps(document))


@given(json_values)
def test_any_other_json_is_no_program(document: Any) -> None:
    program = document if isinstance(document, dict) else {"graph_module": document}
    with pytest.raises(ValueError, match=r"its program, of PyTorch .* has an unknown form"):
        exported_facts(program)


def tensor(*sizes: int | str, dtype: int = 7) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "sizes": [{"as_int": s} if isinstance(s, int) else {"as_expr": {"expr_str": s}} for s in sizes],
    }


def program(nodes: list[dict[str, Any]], returned: list[str], **values: Any) -> dict[str, Any]:
    """Of two inputs, Left and right, and a buffer."""
    known = {"left": tensor("s0", 4), "right": tensor("s0"), "held": tensor(4), **values}
    given = [{"user_input": {"arg": {"as_tensor": {"name": name}}}} for name in ("left", "right")]
    call = {
        "in_spec": spec(LEAF, LEAF),
        "out_spec": json.dumps([1, node("tuple", *[LEAF] * len(returned))]),
        "forward_arg_names": ["Left", "right"],
    }
    return {
        "graph_module": {
            "graph": {
                "inputs": [{"as_tensor": {"name": name}} for name in ("held", "left", "right")],
                "nodes": nodes,
                "tensor_values": known,
            },
            "signature": {
                "input_specs": [{"buffer": {"arg": {"name": "held"}}}, *given],
                "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": name}}}} for name in returned],
            },
            "module_call_graph": [{"fqn": "", "signature": call}],
        },
        "torch_version": "2.13.0",
    }


def step(operator: str, given: str, result: str) -> dict[str, Any]:
    return {
        "target": f"torch.ops.aten.{operator}",
        "inputs": [{"name": "self", "arg": {"as_tensor": {"name": given}}}],
        "outputs": [{"as_tensor": {"name": result}}],
    }


def test_a_program() -> None:
    facts = exported_facts(program([step("relu.default", "left", "y")], ["y"], y=tensor("s0", 4, dtype=13)))
    assert [(one.name, one.data_type, one.shape) for one in facts.signature.inputs] == [
        ("Left", DataType.FP32, (-1, 4)),
        ("right", DataType.FP32, (-1,)),
    ]
    assert [(one.name, one.data_type) for one in facts.signature.outputs] == [("OUTPUT__0", DataType.BF16)]
    assert facts.signature.batching
    assert facts.values == (TENSOR, TENSOR)
    assert (facts.writes_inputs, facts.stateful, facts.returns_given) == (False, False, False)
    assert facts.operators == {"torch.ops.aten.relu.default"}


@pytest.mark.parametrize(("first", "batching"), [("s0", True), ("s1", False), (3, None)])
def test_a_batch_is_one_size_in_all_tensors(first: int | str, batching: bool | None) -> None:
    facts = exported_facts(program([step("relu.default", "left", "y")], ["y"], y=tensor(first)))
    assert facts.signature.batching is batching


@pytest.mark.parametrize(
    ("nodes", "writes_inputs", "stateful"),
    [
        ([step("relu_.default", "left", "y")], True, False),
        ([step("view.default", "left", "v"), step("add_.Tensor", "v", "y")], True, False),
        ([step("relu.default", "left", "v"), step("add_.Tensor", "v", "y")], False, False),
        ([step("add_.Tensor", "held", "y")], False, True),
        ([step("__rshift__.Scalar", "left", "y")], False, False),
    ],
)
def test_what_a_program_writes_to(nodes: list[dict[str, Any]], writes_inputs: bool, stateful: bool) -> None:
    facts = exported_facts(program(nodes, ["y"], y=tensor("s0", 4)))
    assert (facts.writes_inputs, facts.stateful) == (writes_inputs, stateful)


def test_a_program_that_returns_its_input() -> None:
    assert exported_facts(program([], ["left"])).returns_given


SOURCE = """
AOTI_NOINLINE static void check_input_0(
    AtenTensorHandle* input_handles
) {
    int32_t arg0_1_expected_dtype = aoti_torch_dtype_bfloat16();
    if (arg0_1_size[0] < 2) {
        throw std::runtime_error(std::move(ss).str());
    }
    if (512 != arg0_1_size[1]) {
        throw std::runtime_error(std::move(ss).str());
    }
    if (1 != arg0_1_stride[1]) {
    }
}
static void check_input_1(
) {
    int32_t arg1_1_expected_dtype = aoti_torch_dtype_int64();
}
static void check_input_2(
) {
    int32_t arg2_1_expected_dtype = aoti_torch_dtype_complex64();
    if (8L != arg2_1_size[1]) {
    }
}
"""


def test_the_tests_in_a_generated_source() -> None:
    assert inputs_in(SOURCE) == {
        0: InputFacts(DataType.BF16, (-1, 512)),
        1: InputFacts(DataType.INT64, None),
        2: InputFacts(DataType.INVALID, None),
    }
    assert inputs_in("int main() {}") == {}


@pytest.mark.parametrize(
    ("metadata", "vectors", "found"),
    [
        ({}, "DEFAULT", ""),
        ({"AOTI_PLATFORM": "linux", "AOTI_MACHINE": "x86_64", "AOTI_CPU_ISA": "AVX512 AVX512_VNNI"}, "AVX512", ""),
        ({"AOTI_CPU_ISA": "AVX512"}, "AVX2", "with AVX512, but this one has AVX2"),
        ({"AOTI_CPU_ISA": "AVX2"}, "AVX512", ""),
        ({"AOTI_MACHINE": "aarch64"}, "AVX2", "compiled for aarch64, but this is x86_64"),
    ],
)
def test_whether_machine_code_runs_here(metadata: dict[str, str], vectors: str, found: str) -> None:
    text = mismatch(metadata, system="linux", machine="x86_64", vectors=vectors)
    assert found in text
    assert bool(text) == bool(found)


def archive(path: Path, **records: Any) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in records.items():
            text = content if isinstance(content, (bytes, str)) else json.dumps(content)
            file.writestr(f"root/{name}", text)
    return path


def test_the_records_that_are_pickles(tmp_path: Path) -> None:
    def entry(name: str, pickled: bool) -> dict[str, Any]:
        return {"path_name": name, "use_pickle": pickled}

    path = archive(
        tmp_path / "x.pt2",
        **{
            "data/sample_inputs/model.pt": b"",
            "data/weights/weight_0": b"",
            "data/weights/model_weights_config.json": {"config": {"a": entry("weight_0", False)}},
            "data/constants/model_constants_config.json": {
                "config": {
                    "b": entry("tensor_0", True),
                    "c": entry("opaque_obj_0", True),
                    "d": entry("custom_obj_0", True),
                }
            },
        },
    )
    with records_of(path) as records:
        found = sorted(records.pickles())
    assert found == [
        ("data/constants/opaque_obj_0", False),
        ("data/constants/tensor_0", True),
        ("data/sample_inputs/model.pt", True),
    ]


def pickles_of(path: Path) -> list[tuple[str, bool]]:
    with records_of(path) as records:
        return sorted(records.pickles())


def test_pickles_cannot_be_hidden(tmp_path: Path) -> None:
    def config(name: str, pickled: bool) -> dict[str, Any]:
        return {"config": {"a": {"path_name": name, "use_pickle": pickled}}}

    weights = archive(tmp_path / "a", **{"data/weights/model_weights_config.json": config("custom_obj_0", True)})
    assert pickles_of(weights) == [("data/weights/custom_obj_0", True)]
    opaque = archive(tmp_path / "b", **{"data/constants/model_constants_config.json": config("opaque_obj_0", False)})
    assert pickles_of(opaque) == [("data/constants/opaque_obj_0", False)]
    with zipfile.ZipFile(tmp_path / "c", "w") as file:
        file.writestr("one/Data/Sample_Inputs/model.pt", b"")
        file.writestr("serialized_exported_program.json", "{}")
    assert pickles_of(tmp_path / "c") == [("one/Data/Sample_Inputs/model.pt", True)]


def test_two_records_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as file:
        file.writestr("m/data/sample_inputs/model.pt", b"")
        file.writestr("m/data/sample_inputs/MODEL.pt", b"")
    with pytest.raises(ValueError, match="two records of one name"), records_of(tmp_path / "x"):
        pass


def zipped(folder: Path, content: bytes) -> tuple[bytes, bytes, bytes]:
    """The records of an archive with one file, their list, and the archive's end."""
    path = folder / "zipped"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("m/data/sample_inputs/model.pt", content)
    whole = path.read_bytes()
    end = len(whole) - 22
    size, offset = struct.unpack("<II", whole[end + 12 : end + 20])
    return whole[:offset], whole[offset : offset + size], whole[end:]


def test_an_archive_with_a_list_of_records_for_python_and_another_for_pytorch_is_refused(tmp_path: Path) -> None:
    """Python looks for the list right before the archive's end, PyTorch where that end says that it is."""
    records, listed, _ = zipped(tmp_path, b"harmful")
    harmless, harmless_listed, end = zipped(tmp_path, b"good")
    assert len(listed) == len(harmless_listed)
    harmful_end = end[:16] + struct.pack("<I", len(records)) + end[20:]
    shift = len(records) - len(harmless)
    harmless_listed = harmless_listed[:42] + struct.pack("<I", shift) + harmless_listed[46:]
    path = tmp_path / "x"
    path.write_bytes(records + listed + harmless + harmless_listed + harmful_end)
    with zipfile.ZipFile(path) as file:
        assert file.read("m/data/sample_inputs/model.pt") == b"good"
    with pytest.raises(ValueError, match="its list of records is not where its end says"), records_of(path):
        pass


def test_bytes_around_an_archive_are_refused(tmp_path: Path) -> None:
    records, listed, end = zipped(tmp_path, b"good")
    path = tmp_path / "x"
    path.write_bytes(records + listed + end)
    with records_of(path) as found:
        assert found.read("data/sample_inputs/model.pt") == b"good"
    path.write_bytes(b"#!/bin/sh\n" + records + listed + end)
    with pytest.raises(ValueError, match="its list of records is not where its end says"), records_of(path):
        pass
    path.write_bytes(records + listed + end[:20] + b"\x03\x00abc")
    with pytest.raises(ValueError, match="something follows its end"), records_of(path):
        pass


@pytest.mark.parametrize("moved", [0, 1])
def test_the_long_end_of_large_archives(tmp_path: Path, moved: int) -> None:
    records, listed, end = zipped(tmp_path, b"good")
    at = len(records) + len(listed)
    long_end = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(listed), len(records))
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at - moved, 1)
    path = tmp_path / "x"
    path.write_bytes(records + listed + long_end + locator + end[:12] + b"\xff" * 8 + end[20:])
    if moved:
        with pytest.raises(ValueError, match="its end is in two places"), records_of(path):
            pass
    else:
        with records_of(path) as found:
            assert len(found.names()) == 1


def test_archives_without_a_program_or_a_model(tmp_path: Path) -> None:
    with records_of(archive(tmp_path / "a.pt2", **{"models/other.json": {}})) as records:
        with pytest.raises(ValueError, match="no program named 'model', but those named other"):
            records.program()
        with pytest.raises(ValueError, match="it has 0 models"):
            package_facts(records)
    other = archive(tmp_path / "b.pt2", **{"models/model.json": "[1]"})
    with pytest.raises(ValueError, match="is no JSON object"), records_of(other) as records:
        records.program()


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(ValueError, match="it is no whole archive"), records_of(tmp_path / "x"):
        pass
