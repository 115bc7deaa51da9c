"""The handwritten digits that come with scikit-learn, split once and for all into training and held-back images.

Needs scikit-learn and numpy alone, so that tests and the demo judge a served model on exactly the images that it has
never seen.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

HELD_BACK = 360
SEED = 1797


class Digits(NamedTuple):
    """`images`: FP32 [count, 8, 8], pixels from 0 (paper) to 16 (ink); `labels`: INT64 [count], 0 to 9."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def training_digits() -> Digits:
    """The 1,437 images that the example models are trained on."""
    return _pick(_order()[HELD_BACK:])


def held_back_digits() -> Digits:
    """The 360 images that no example model is trained on: what their stated accuracy is measured with."""
    return _pick(_order()[:HELD_BACK])


def _pick(indices: NDArray[Any]) -> Digits:
    data = load_digits()
    return Digits(data.images[indices].astype(np.float32), data.target[indices].astype(np.int64))


def _order() -> NDArray[Any]:
    # Shuffled: the file repeats 0, 1, ... 9, so that every fifth image would be a 4 or a 9. By RandomState, because
    # numpy keeps its streams as they are for good, which nobody promises for Generator or train_test_split.
    return np.random.RandomState(SEED).permutation(1797)
