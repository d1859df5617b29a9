"""The words that labels are chosen from."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from dnr_env.errors import DnRError
from dnr_env.models.hub import needed

_LONGEST = 200
_COMMENT = re.compile(r"(^|\s)#.*")


def read_words(spec: str | None = None) -> list[str]:
    """A list of distinct concepts, in the order given.

    Args:
        spec: a UTF-8 file with one concept a line, where # at the start of a word begins a comment. Or "imagenet", as
            is None: the names of ImageNet's 1,000 categories in lower case, of which a few are alike ("crane").

    Raises:
        DnRError: the file cannot be read, has no concepts, or has a line that is none; torchvision is not installed.
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
            f"vocabulary: {spec} cannot be read ({error.strerror}); imagenet or a file with one concept a line will do"
        ) from None
    except UnicodeDecodeError:
        raise DnRError(f"vocabulary: {spec} is not UTF-8 text; a file with one concept a line will do") from None
    words: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        concept = " ".join(unicodedata.normalize("NFC", _COMMENT.sub("", line)).split())
        if len(concept) > _LONGEST or not all(sign.isprintable() or sign == "\u200d" for sign in concept):
            raise DnRError(f"vocabulary: line {number} of {spec} is no concept; up to {_LONGEST} printed signs will do")
        if concept:
            words[concept] = None
    if not words:
        raise DnRError(f"vocabulary: {spec} has no concepts; one a line will do")
    return list(words)
