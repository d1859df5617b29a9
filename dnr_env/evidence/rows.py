"""Encodes rows of activations as bytes without loss. A sparse row takes space only for its non-zero values."""

from __future__ import annotations

import numpy as np

from dnr_env.types import FloatArray

_DENSE, _SPARSE = b"d", b"s"
_PLACE, _VALUE = np.dtype("<u4"), np.dtype("<f4")


def pack(row: FloatArray) -> bytes:
    """Encode a row (length,) of float32: as all its values or as the non-zero ones with their places, if shorter.

    Raises:
        ValueError: the row is not one-dimensional, or not float32.
    """
    if row.ndim != 1 or row.dtype != np.float32:
        raise ValueError(f"`row` must be one row of float32 (got {row.dtype} of shape {row.shape})")
    values = np.ascontiguousarray(row, dtype=_VALUE)
    places = np.flatnonzero(values.view(_PLACE))  # compares bits, so that -0.0 is kept
    if 4 + 8 * len(places) >= values.nbytes:
        return _DENSE + values.tobytes()
    length = len(values).to_bytes(4, "little")
    return _SPARSE + length + places.astype(_PLACE).tobytes() + values[places].tobytes()


def unpack(data: bytes, length: int) -> FloatArray | None:
    """Decode what `pack` encoded, (length,) float32; None if the bytes do not encode a row of this length."""
    kind, body = data[:1], data[1:]
    if kind == _DENSE and len(body) == length * _VALUE.itemsize:
        return np.frombuffer(body, _VALUE).astype(np.float32)
    if kind == _SPARSE and len(body) % 8 == 4:
        numbers = np.frombuffer(body, _PLACE)
        places, values = np.split(numbers[1:], 2)
        if numbers[0] == length and (places < length).all():
            row = np.zeros(length, np.float32)
            row[places] = values.view(_VALUE)
            return row
    return None
