"""The face: what `import atoll` offers, and that looking costs nothing."""

import subprocess
import sys

import atoll


def test_every_name_of_the_face_is_there() -> None:
    for name in atoll.__all__:
        assert getattr(atoll, name) is not None
    assert sorted(atoll.__all__) == atoll.__dir__()


def test_importing_the_face_imports_nothing_heavy() -> None:
    heavy = ("numpy", "google", "grpc", "asyncio")
    code = f"import sys, atoll; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_embedding_needs_no_event_loop_http_or_grpc() -> None:
    code = (
        "import sys, atoll; atoll.Server\n"
        "heavy = ('grpc', 'uvloop', 'httptools', 'onnxruntime')\n"
        "rooms = ('atoll.frontends', 'atoll.protocol')\n"
        "print([m for m in sys.modules if m.split('.')[0] in heavy or m.startswith(rooms)])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
