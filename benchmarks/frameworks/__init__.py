"""Every framework's models behind the server, beside the framework's own loop."""
