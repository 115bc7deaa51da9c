"""The log: its settings, its lines, the files that they go to, and the thread that writes them."""
