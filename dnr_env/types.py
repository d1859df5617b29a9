"""Array types, by kind of number; shapes are in the docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]
Images = ImageArray | Sequence[ImageArray]
"""Images (height, width, 3): one array (n, height, width, 3), or a list of images of any sizes."""
ObjectArray = npt.NDArray[np.object_]
