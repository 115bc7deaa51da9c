"""Runs the benchmark of observability: see `python -m benchmarks.observability --help`."""

import signal
import sys

from benchmarks.observability.command import main

# Like Ctrl-C, so that the servers are ended and what was measured is reported.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main())
