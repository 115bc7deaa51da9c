"""PyTorch's element types by Triton's, without importing PyTorch."""

from typing import Any

from atoll.tensor import BY_DTYPE_NAME, DataType

# The numbers by which files of torch.export say a type (ScalarType in its schema).
BY_EXPORT_NUMBER = {
    1: DataType.UINT8,
    2: DataType.INT8,
    3: DataType.INT16,
    4: DataType.INT32,
    5: DataType.INT64,
    6: DataType.FP16,
    7: DataType.FP32,
    8: DataType.FP64,
    12: DataType.BOOL,
    13: DataType.BF16,
    28: DataType.UINT16,
    34: DataType.UINT32,
    35: DataType.UINT64,
}

_NAMES = {datatype: name for name, datatype in BY_DTYPE_NAME.items()}


def torch_type(torch: Any, datatype: DataType) -> Any:
    """The torch.dtype; None for BYTES, which PyTorch holds as lists of text."""
    name = _NAMES.get(datatype)
    return getattr(torch, name) if name else None


def type_text(dtype: Any) -> str:
    """A torch.dtype with Triton's name for it: "torch.float32 (TYPE_FP32)"."""
    datatype = BY_DTYPE_NAME.get(str(dtype).removeprefix("torch."))
    return f"{dtype} ({datatype.config_name})" if datatype else f"{dtype}, which Triton has no type for"
