"""What Python models import: the API of Triton's Python backend, typed, as Atoll implements it.

In a server, and in tests that run a model with `atoll.testing`, the classes talk to the server round the model. Without
one, tensors, requests and responses can be made and looked at all the same.
"""

from atoll.backends.python.utils import *  # noqa: F403 - all of its __all__, and nothing else
