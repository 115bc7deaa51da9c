"""Whether an error says that memory was short: SageMaker then unloads other models and asks again."""

_SIGNS = (
    *("out of memory", "Out of memory", "Out Of Memory", "OUT_OF_MEMORY", "OutOfMemory", "OOM", "MemoryError"),
    *("Src tensor is not initialized", "Dst tensor is not initialized"),
    *("CUDNN_STATUS_NOT_INITIALIZED", "CUBLAS_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED"),
    *("Failed to allocate memory", "failed to allocate memory", "No space left on device"),
)
"""The real server's (2.51): of PyTorch, TensorFlow, cuDNN, cuBLAS, Python and the C library."""

_OURS = ("std::bad_alloc", "Cannot allocate memory", "--model-memory-budget")
"""Of ONNX Runtime, of the system, and of the memory that models may take."""


def says_out_of_memory(text: str) -> bool:
    """Whether one of the signs is in the text of an error."""
    return any(sign in text for sign in (*_SIGNS, *_OURS))
