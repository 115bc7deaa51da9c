"""Parts of a config.pbtxt as text."""


def tensor_text(kind: str, name: str, datatype: str = "FP32", dims: str = "[4]", more: str = "") -> str:
    """An `input` or `output`."""
    return f'{kind} [{{name: "{name}", data_type: TYPE_{datatype}, dims: {dims}{more}}}]\n'


def parameter_text(key: str, value: str) -> str:
    """A parameter; quotes in the value are escaped already."""
    return f'parameters {{key: "{key}", value: {{string_value: "{value}"}}}}\n'
