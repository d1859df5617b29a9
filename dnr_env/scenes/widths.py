"""How wide the networks under study are, for who needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

WIDTHS: Mapping[str, tuple[int, ...]] = {
    "plain": (8, 16, 32, 48),
    "residual": (8, 16, 32, 48),
    "depthwise": (24, 32, 40, 48),
}
"""The channels of `layer1` to `layer4`, by architecture."""
