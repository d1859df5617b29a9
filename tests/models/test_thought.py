"""Answers of reasoning models: what follows the thought counts, and a thought alone is no answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnr_env.models.phrases import parse_phrases
from dnr_env.models.thought import LONGEST, opens_thought, without_thought

ANSWER = '{"phrases": ["red dog"]}'
DRAFT = 'It should read {"phrases": ["…"]}, say {"phrases": ["blue cat"]}.'
TAGS = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<THOUGHT>", "</THOUGHT>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>commentary<|message|>A list."
        "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    ("analysisWe look.", "assistantfinal"),
]


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_what_follows_the_thought_counts(opening: str, closing: str) -> None:
    said = f"{opening}\n{DRAFT}\n{closing}\n\n{ANSWER}"
    assert parse_phrases(said) == ["red dog"]
    assert parse_phrases(f"{opening} hm {closing}red dog") == ["red dog"]
    assert parse_phrases(f"{opening}{DRAFT}") is None  # cut short inside the thought
    assert without_thought(f"{opening}{DRAFT}{closing}") == ""


@pytest.mark.parametrize(("opening", "closing"), TAGS[:12])
def test_the_prompt_may_have_opened_the_thought(opening: str, closing: str) -> None:
    assert parse_phrases(f"{DRAFT}\n{closing}\n\n{ANSWER}") == ["red dog"]
    assert opens_thought(f"<user>What is it?<assistant>{opening}\n")
    assert not opens_thought(f"<user>What is it?<assistant>{opening}\n\n{closing}\n\n")


@pytest.mark.parametrize(
    ("said", "phrases"),
    [
        (f"{DRAFT}\n</think>\n\n{ANSWER}", ["red dog"]),
        (f"<think>a</think>{DRAFT}<think>b</think>{ANSWER}", ["red dog"]),
        (f"<think>I close it with </think> now. {DRAFT}</think>{ANSWER}", ["red dog"]),
        (f"{ANSWER}<think>Was this right?", ["red dog"]),
        (f"<think>{DRAFT}</think><answer>{ANSWER}</answer>", ["red dog"]),
        (f"<think>{'x ' * 50_000}{DRAFT}</think>{ANSWER}", ["red dog"]),
        (f"{DRAFT} So: {ANSWER}", ["red dog"]),  # without any mark, the last object counts
        (f'{ANSWER}\nNotes: [1] and {{"n": 2}}.', ["red dog"]),
        (f'{DRAFT} So: {{"phrases": ["red dog", "green b', ["red dog"]),
        (f"<think>{DRAFT}</think>" + "- red dog\n- cat", ["red dog", "cat"]),
    ],
)
def test_the_last_answer_counts(said: str, phrases: list[str]) -> None:
    assert parse_phrases(said) == phrases


@pytest.mark.parametrize(
    "said", [f"Let me think. {DRAFT}", f"<think>{DRAFT}", f"1. Look at {ANSWER}", "The dogs", "analysis: red {"]
)
def test_a_cut_answer_counts_only_if_it_begins_as_one(said: str) -> None:
    assert parse_phrases(said, cut=True) is None


def test_a_cut_answer_that_begins_as_one() -> None:
    assert parse_phrases('{"phrases": ["red dog", "blu', cut=True) == ["red dog"]
    assert parse_phrases(f'<think>{DRAFT}</think>\n```json\n{{"phrases": ["red dog", "blu', cut=True) == ["red dog"]


@given(st.lists(st.sampled_from([part for pair in TAGS for part in pair] + [DRAFT, "{", "[", '"', "a"]), max_size=30))
@settings(max_examples=200, deadline=None)
def test_an_answer_after_any_text_is_found(parts: list[str]) -> None:
    assert parse_phrases(f"{''.join(parts)}</think>{ANSWER}") == ["red dog"]


def test_what_is_read_is_bounded() -> None:
    assert len(without_thought("x" * (2 * LONGEST))) == LONGEST
    for part in ("<", "<think>", "[", "{", '{"', '["a", ', "<a-", "<|", json.dumps({"phrases": []})):
        parse_phrases(part * (LONGEST // len(part)))  # in a time that does not grow with its square
