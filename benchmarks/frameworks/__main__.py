"""Runs the benchmark of frameworks: see `python -m benchmarks.frameworks --help`."""

import signal
import sys

from benchmarks.frameworks.command import main

# Like Ctrl-C, so that the servers are ended and what was measured is reported.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main())
