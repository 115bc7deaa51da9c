"""What child processes of these tests run: code that the test gives. Imported in the children."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

__all__ = ["ctypes", "os", "signal", "subprocess", "sys", "threading", "time"]

shared: object = None


def prepare(setup):  # type: ignore[no-untyped-def]
    """In a zygote: the code under "prepare" leaves what is to be shared in `shared`."""
    exec(compile(setup.get("prepare", ""), "<prepare>", "exec"), globals())


def serve(setup, data, regions):  # type: ignore[no-untyped-def]
    """Run the code of the test, and then wait for the server's end of the socket to close."""
    names = {name: value for name, value in globals().items() if not name.startswith("__")}
    exec(compile(setup["code"], setup.get("file", "<test>"), "exec"), {**names, "data": data, "regions": regions})
    data.recv(1)
