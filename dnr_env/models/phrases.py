"""Texts from outside, made harmless: one line of plain text, the phrases in a model's answer, a concept."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator

from dnr_env.errors import ConceptError

MAX_READ = 10_000
"""Characters of a text that are looked at."""
MAX_PHRASES = 20
"""Phrases of an answer."""
MAX_PHRASE = 300
"""Characters of a phrase, or of a caption."""
MAX_WORDS = 8
"""Words of a concept."""
MAX_CONCEPT = 80
"""Characters of a concept."""

_PASSES = 10
_BRACKETS = 20  # places at which JSON may begin: each costs a pass over the text
_DECODER = json.JSONDecoder(strict=False)  # a raw line break in a string is no reason to ask again

_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_FENCE = re.compile(r"^\s*```.*$", re.MULTILINE)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?!\s*:)')
_KEY = re.compile(r'"(?:[^"\\]|\\.)*"\s*:')
_ITEM = re.compile(r"\s*(?:[-*•·–—]|\d{1,3}[.)])\s+")
_REFUSAL = re.compile(
    r"\W*(?:i['’]?m (?:really |very )?sorry|i am sorry|sorry|i can(?:['’]?t|not)|as an ai|i apologi[sz]e)\b", re.I
)
_LABEL = re.compile(r"\s*(?:concept|label|answer|phrase|summary|caption)\s*:\s*")
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10))))
"""Letters and marks by their category, and yet nothing to see."""
_TAG = re.compile(r"</?[a-z!][^<>]*>")
_UNPLAIN = re.compile(r"[^\w\s'&,.-]|_")
_ARTICLE = re.compile(r"(?:a|an|the) (?=.)")


def plain(text: str, limit: int = MAX_PHRASE) -> str:
    """One line of at most `limit` characters: NFKC, without control, zero-width, bidi and unassigned characters."""
    kept = (" " if c.isspace() or unicodedata.category(c) == "Cc" else c for c in text[:MAX_READ])
    kept = (c for c in kept if not (unicodedata.category(c).startswith("C") or c in _INVISIBLE))
    return " ".join(unicodedata.normalize("NFKC", "".join(kept)).split())[:limit].rstrip()


def parse_phrases(text: str) -> list[str] | None:
    """The phrases of a language model's answer; None where it has none that can be told from prose.

    Reads a JSON object or list with or without prose and fences around it, the whole strings of JSON that is cut off,
    a list of bulleted or numbered lines, and a short single line. An apology is not a phrase.

    Args:
        text: the answer, of which the first `MAX_READ` characters are read.
    """
    text = _THOUGHT.sub(" ", text[:MAX_READ])
    starts = [found.start() for found in re.finditer(r"[\[{]", text)]
    for start in starts[:_BRACKETS]:
        try:
            value, _ = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if phrases := _tidy(_strings(value)):
            return phrases
        if isinstance(value, dict) and value.get("phrases") == []:
            return []
    if starts and '"' in text[starts[0] :]:
        return _tidy(_whole_strings(text[starts[0] :])) or None
    lines = [line for line in _FENCE.sub("", text).splitlines() if line.strip()]
    items = [line[found.end() :] for line in lines if (found := _ITEM.match(line))]
    if items:
        return _tidy(iter(items)) or None
    if len(lines) == 1 and not starts and len(lines[0].split()) <= 2 * MAX_WORDS:
        return _tidy(iter(lines)) or None
    return None


def _strings(value: object) -> Iterator[str]:
    """The phrases in decoded JSON: the strings under "phrases", of the only list, or of the only member."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        lists = [member for member in value.values() if isinstance(member, list)]
        chosen = value.get("phrases", lists[0] if len(lists) == 1 else next(iter(value.values()), None))
        if not isinstance(chosen, dict):
            yield from _strings(chosen)
    elif isinstance(value, list):
        for item in value:
            if not isinstance(item, list):
                yield from _strings(item)


def _whole_strings(text: str) -> Iterator[str]:
    for found in _STRING.finditer(_KEY.sub(" ", text)):
        try:
            yield str(json.loads(found.group(), strict=False))
        except ValueError:
            continue


def _tidy(texts: Iterator[str]) -> list[str]:
    """Distinct, plain, not empty, no apologies; no more than `MAX_PHRASES`."""
    kept: dict[str, None] = {}
    for text in texts:
        phrase = plain(text).strip("\"'“”‘’` ")
        if phrase and not _REFUSAL.match(phrase):
            kept.setdefault(phrase)
        if len(kept) == MAX_PHRASES:
            break
    return list(kept)


def clean(text: str) -> str:
    """The concept that a text names: lower-case words, of letters, digits and ' & , . - alone.

    Numbering, bullets, quotes, markup, a leading article and a trailing full stop go. Cleaning what is clean changes
    nothing.

    Raises:
        ConceptError: no letter is left, or more than `MAX_WORDS` words or `MAX_CONCEPT` characters are.
    """
    concept = plain(text, MAX_READ)
    for _ in range(_PASSES):  # what one pass uncovers, the next sees: a numbered bullet, say
        before, concept = concept, _cleaned(concept)
        if concept == before:
            break
    else:
        raise ConceptError(f"concept: {text[:60]!r} cannot be read; plain words will do")
    if not any(c.isalpha() for c in concept):
        raise ConceptError(f"concept: {text[:60]!r} has no letter; 1 to {MAX_WORDS} words will do")
    if len(concept.split()) > MAX_WORDS or len(concept) > MAX_CONCEPT:
        raise ConceptError(f"concept: {text[:60]!r} is too long; 1 to {MAX_WORDS} words will do")
    return concept


def _cleaned(text: str) -> str:
    text = _TAG.sub(" ", plain(text, MAX_READ).lower())
    text = _leading(_LABEL, _leading(_ITEM, text))
    text = plain(_UNPLAIN.sub(" ", text.replace("’", "'")), MAX_READ).strip(" .,'&-")
    return _leading(_ARTICLE, text)


def _leading(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    return text[found.end() :] if found else text


normalise_phrase = clean
"""What a stack with a language model takes for `normalise`."""
