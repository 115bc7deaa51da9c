"""Runs the benchmark of scheduling: see `python -m benchmarks.scheduling --help`."""

import signal
import sys

from benchmarks.scheduling.command import main

# Like Ctrl-C, so that the servers are ended and what was measured is reported.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main())
