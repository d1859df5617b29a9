"""Sanitising of untrusted texts: one line of plain text, the phrases in a model's answer, or a concept."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator

from dnr_env.errors import ConceptError
from dnr_env.models.thought import without_thought

MAX_READ = 10_000
"""Number of characters of a text that are read."""
MAX_PHRASES = 20
"""The maximum number of phrases in an answer."""
MAX_PHRASE = 300
"""The maximum number of characters in a phrase or a caption."""
MAX_WORDS = 8
"""The maximum number of words in a concept."""
MAX_CONCEPT = 80
"""The maximum number of characters in a concept."""

_PASSES = 10
_FAILURES = 100  # places where JSON may begin and does not; each costs at most a pass over the text
_DECODER = json.JSONDecoder(strict=False)  # accepts raw line breaks in strings, which are harmless

_BRACKET = re.compile(r"[\[{]")
_JSON_FIRST = re.compile(r"(?:```\w*)?\s*[\[{]")
_PHRASES_KEY = re.compile(r'"phrases"\s*:')
_FENCE = re.compile(r"^\s*```.*$", re.MULTILINE)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?!\s*:)')
_KEY = re.compile(r'"(?:[^"\\]|\\.)*"\s*:')
_ITEM = re.compile(r"\s*(?:[-*•·–—]|\d{1,3}[.)])\s+")
_REFUSAL = re.compile(
    r"\W*(?:i['’]?m (?:really |very )?sorry|i am sorry|sorry|i can(?:['’]?t|not)|as an ai|i apologi[sz]e)\b", re.I
)
_MONTH = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?)"
)
_NUMBERS = re.compile(
    rf"±|\d\.\d\d|:\s*-?\d*\.\d|\d[-/.]\d{{1,2}}[-/.]\d|\b\d{{1,2}}:\d\d|\b{_MONTH}\.? \d"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{_MONTH}\b",
    re.I,
)
"""A score, a date or a time."""
_LABEL = re.compile(r"\s*(?:concept|label|answer|phrase|summary|caption)\s*:\s*")
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10))))
"""Invisible characters whose category is that of letters or marks."""
_TAG = re.compile(r"</?[a-z!][^<>]*>")
_UNPLAIN = re.compile(r"[^\w\s'&,.-]|_")
_ARTICLE = re.compile(r"(?:a|an|the) (?=.)")


def plain(text: str, limit: int = MAX_PHRASE) -> str:
    """Return one line of at most `limit` characters in NFKC, without control, invisible, bidi and unassigned ones."""
    kept = (" " if c.isspace() or unicodedata.category(c) == "Cc" else c for c in text[:MAX_READ])
    kept = (c for c in kept if not (unicodedata.category(c).startswith("C") or c in _INVISIBLE))
    return " ".join(unicodedata.normalize("NFKC", "".join(kept)).split())[:limit].rstrip()


def parse_phrases(text: str, cut: bool = False) -> list[str] | None:
    """Return the phrases in a language model's answer, or None if none can be told from prose.

    After the model's thought, the answer may be JSON objects or lists with prose and fences around them, of which the
    last counts, truncated JSON with complete strings, a list of bulleted or numbered lines, or a short single line.
    An apology is not a phrase, and neither is a text without letters, a date or a score.

    Args:
        text: the answer.
        cut: whether the answer was cut short. Then it must begin with JSON: anything else may be a thought.
    """
    text = without_thought(text)
    if cut and not _JSON_FIRST.match(text):
        return None
    values, end = _decoded(text)
    rest = text[end:]
    unfinished = list(_PHRASES_KEY.finditer(rest))
    if unfinished and (phrases := _tidy(_whole_strings(rest[unfinished[-1].start() :]))):
        return phrases
    values.reverse()
    for value in sorted(values, key=_follows_format, reverse=True):  # a stable sort: the last object first
        if phrases := _tidy(_strings(value)):
            return phrases
        if isinstance(value, dict) and value.get("phrases") == []:
            return []
    if any(map(_follows_format, values)):
        return None
    start = _BRACKET.search(text)
    if start and '"' in text[start.start() :]:
        return _tidy(_whole_strings(text[start.start() :])) or None
    lines = [line for line in _FENCE.sub("", text).splitlines() if line.strip()]
    items = [line[found.end() :] for line in lines if (found := _ITEM.match(line))]
    if items:
        return _tidy(iter(items)) or None
    if len(lines) == 1 and not start and len(lines[0].split()) <= 2 * MAX_WORDS:
        return _tidy(iter(lines)) or None
    return None


def _decoded(text: str) -> tuple[list[object], int]:
    """Return the outermost JSON objects and lists in a text, in order, and where the last one ends."""
    values: list[object] = []
    place = end = failures = 0
    while (found := _BRACKET.search(text, place)) and failures < _FAILURES:
        try:
            value, place = _DECODER.raw_decode(text, found.start())
        except (ValueError, RecursionError):
            failures, place = failures + 1, found.end()
        else:
            values.append(value)
            end = place
    return values, end


def _follows_format(value: object) -> bool:
    return isinstance(value, dict) and "phrases" in value


def _strings(value: object) -> Iterator[str]:
    """Yield the strings in decoded JSON: those under "phrases", in the only list, or in the only member."""
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
    """Return at most `MAX_PHRASES` distinct plain phrases, without apologies and what is no words."""
    kept: dict[str, None] = {}
    for text in texts:
        phrase = plain(text).strip("\"'“”‘’` ")
        if any(c.isalpha() for c in phrase) and not (_REFUSAL.match(phrase) or _NUMBERS.search(phrase)):
            kept.setdefault(phrase)
        if len(kept) == MAX_PHRASES:
            break
    return list(kept)


def clean(text: str) -> str:
    """Return the concept that a text names: lower-case words of letters, digits and the characters ' & , . - only.

    Numbering, bullets, quotes, markup, a leading article and a trailing full stop are removed. Cleaning a clean text
    changes nothing.

    Raises:
        ConceptError: the result has no letter, or more than `MAX_WORDS` words or `MAX_CONCEPT` characters.
    """
    concept = plain(text, MAX_READ)
    for _ in range(_PASSES):  # one pass can uncover work for the next, such as a numbered bullet
        before, concept = concept, _cleaned(concept)
        if concept == before:
            break
    else:
        raise ConceptError(f"a concept must consist of plain words (got {text[:60]!r})")
    if not any(c.isalpha() for c in concept):
        raise ConceptError(f"a concept must contain a letter (got {text[:60]!r})")
    if len(concept.split()) > MAX_WORDS or len(concept) > MAX_CONCEPT:
        raise ConceptError(
            f"a concept must have at most {MAX_WORDS} words and {MAX_CONCEPT} characters (got {text[:60]!r})"
        )
    return concept


def _cleaned(text: str) -> str:
    text = _TAG.sub(" ", plain(text, MAX_READ).lower())
    text = _leading(_LABEL, _leading(_ITEM, text))
    text = plain(_UNPLAIN.sub(" ", text.replace("’", "'")), MAX_READ).strip(" .,'&-")
    return _leading(_ARTICLE, text)


def _leading(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    return text[found.end() :] if found else text
