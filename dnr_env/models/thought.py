"""The thought that reasoning models write before an answer, in the marks of different models, and its removal."""

from __future__ import annotations

import re

LONGEST = 200_000
"""The number of characters of an answer that are read, counted from its end."""

_NAME = "(?:think|thinking|thoughts?|reason|reasoning|reflection|scratchpad|analysis)"
_WORD = rf"(?:[\w.-]{{1,20}}[:_])?{_NAME}"
_OPEN = re.compile(
    rf"<{_WORD}>|\[{_WORD}\]|◁think▷|<\|{_NAME}\|>|<\|(?:start_thinking|begin_of_thought|inner_prefix)\|>"
    r"|<\|channel>thought",
    re.I,
)
_CLOSE = re.compile(
    rf"</\s*{_WORD}\s*>|\[/\s*{_WORD}\s*\]|◁/think▷|<\|/{_NAME}\|>"
    r"|<\|(?:end_thinking|end_of_thought|inner_suffix)\|>|<channel\|>",
    re.I,
)
# The channels of gpt-oss, also as they read without their marks: "analysisWe look … assistantfinal{…}".
_CHANNEL = re.compile(r"<\|channel\|>|\A\s*(?:assistant)?(?:analysis|commentary)(?=[A-Z{\[\"<])")
_FINAL = re.compile(r"<\|channel\|>\s*final.{0,60}?<\|message\|>|assistantfinal")
_MARK = re.compile(r"<\|[\w/]{1,40}\|?>|</?answer>", re.I)


def without_thought(text: str) -> str:
    """Return what a model says after its last thought, without the marks of roles and channels.

    Known are tags such as `<think>`, `<seed:think>`, `[THINK]`, `◁think▷`, `<|START_THINKING|>` and
    `<|begin_of_thought|>`, whether the answer or the prompt has opened them, and the channels of gpt-oss. The result is
    empty if nothing follows the thought, or if the thought has no end.
    """
    text = text[-LONGEST:]
    if closed := list(_CLOSE.finditer(text)):
        text = text[closed[-1].end() :]
    if _CHANNEL.search(text) and (final := list(_FINAL.finditer(text))):
        text = text[final[-1].end() :]
    if opened := _OPEN.search(text) or _CHANNEL.search(text):
        text = text[: opened.start()]
    return _MARK.sub(" ", text).strip()


def opens_thought(prompt: str) -> bool:
    """Return whether a prompt ends inside a thought, so that the answer begins there."""
    last = list(_OPEN.finditer(prompt))
    return bool(last) and not prompt[last[-1].end() :].strip()
