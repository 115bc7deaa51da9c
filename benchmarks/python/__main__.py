"""Runs the benchmark of Python models: see `python -m benchmarks.python --help`."""

import signal
import sys

from benchmarks.python.command import main

# Like Ctrl-C, so that the servers are ended and what was measured is reported.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main())
