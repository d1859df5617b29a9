"""Vocabularies: the words from which labels are chosen."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from dnr_env.errors import DnRError
from dnr_env.extras import needed

_LONGEST = 200
_COMMENT = re.compile(r"(^|\s)#.*")


def read_words(spec: str | None = None) -> list[str]:
    """Read a list of distinct concepts, in the order given.

    Args:
        spec: a UTF-8 file with one concept per line, in which # at the start of a word begins a comment. None and
            "imagenet" stand for the names of ImageNet's 1,000 categories in lower case, a few of which coincide
            ("crane").

    Raises:
        DnRError: the file cannot be read, has no concepts, or has an invalid line; or torchvision is not installed.
    """
    if spec is None or spec == "imagenet":
        with needed():
            from torchvision.models._meta import _IMAGENET_CATEGORIES
        return list(dict.fromkeys(str(name).lower() for name in _IMAGENET_CATEGORIES))
    path = Path(spec).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DnRError(
            f"`vocabulary` must be imagenet or a file with one concept per line (got {spec}: {error.strerror})"
        ) from None
    except UnicodeDecodeError:
        raise DnRError(f"`vocabulary` must be UTF-8 text with one concept per line (got {spec})") from None
    words: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        concept = " ".join(unicodedata.normalize("NFC", _COMMENT.sub("", line)).split())
        if len(concept) > _LONGEST or not all(sign.isprintable() or sign == "\u200d" for sign in concept):
            raise DnRError(
                f"a line of `vocabulary` must be at most {_LONGEST} printable characters (got line {number} of {spec})"
            )
        if concept:
            words[concept] = None
    if not words:
        raise DnRError(f"`vocabulary` must contain at least one concept (got {spec})")
    return list(words)
