"""Runs the benchmark of shared memory: see `python -m benchmarks.shared_memory --help`."""

import signal
import sys

from benchmarks.shared_memory.command import main

# Like Ctrl-C, so that the servers are ended and what was measured is reported.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main())
