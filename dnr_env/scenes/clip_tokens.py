"""The tokenizer of the small CLIP: one word, one token. A synonym or plural has the token of its word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.shapes.lexicon import VALUES
from dnr_env.shapes.parse import SILENT, value_of, words_of
from dnr_env.types import IntArray

CONTEXT = 20
"""The length of a row of tokens. The words that it has no room for are dropped, from the end of the text."""

_FUNCTION_WORDS = (*sorted(SILENT), "but", "not", "or")
_PAD, _START, _UNKNOWN = range(3)
_FIRST_VALUE = 3
_FUNCTION_TOKENS = {word: _FIRST_VALUE + len(VALUES) + i for i, word in enumerate(_FUNCTION_WORDS)}
_END = _FIRST_VALUE + len(VALUES) + len(_FUNCTION_WORDS)
"""The highest token: open_clip reads the embedding of a text at the place of its highest token."""

TOKENS: tuple[str, ...] = ("<pad>", "<start>", "<unknown>", *(word for _, word in VALUES), *_FUNCTION_WORDS, "<end>")
"""All tokens, by number."""


def tokenize(texts: Sequence[str]) -> IntArray:
    """Turn n texts into rows of tokens (n, CONTEXT): start, words, end, padding."""
    rows = np.full((len(texts), CONTEXT), _PAD)
    for row, text in zip(rows, texts, strict=True):
        tokens = [_START, *(_token(word) for word in words_of(text)[: CONTEXT - 2]), _END]
        row[: len(tokens)] = tokens
    return rows


def _token(word: str) -> int:
    value = value_of(word)
    return _FUNCTION_TOKENS.get(word, _UNKNOWN) if value is None else _FIRST_VALUE + value
