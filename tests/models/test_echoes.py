"""Answers of weak models: nothing that the question contains is taken for an answer."""

from __future__ import annotations

import json
import re

import pytest

from dnr_env.models import prompts
from dnr_env.models.asker import Question
from dnr_env.models.echoes import without_echoes
from dnr_env.models.phrases import clean, parse_phrases
from dnr_env.models.prompts import Scored

CAPTIONS = ["a black dog on grass", "a very large brown dog that runs over a field", "two dogs"]
QUESTIONS = {
    "simplify": prompts.simplify(CAPTIONS[1]),
    "summarise": prompts.summarise(CAPTIONS, 0),
    "condense": prompts.condense(["dogs", "cats"], 0),
    **{
        kind.name: prompts.mutate(
            "dog",
            kind,
            best=[Scored("dog", 0.812, 0.02)],
            worst=[Scored("cat", 0.1, 0.03)],
            tried=["dog", "cat"],
            exciting=CAPTIONS,
            dull=["a house"],
            sample=0,
        )
        for kind in prompts.MOVES
    },
}


def whole(question: Question) -> str:
    asked = question.with_format()
    return f"{asked.system}\n{asked.user}"


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_part_of_the_instructions_is_an_answer(name: str) -> None:
    """Every quotation, every sentence, every clause and every run of two to six words of a question is an echo."""
    text = whole(QUESTIONS[name])
    instructions = re.sub(r"<data>\n.*?\n</data>", "\n", text, flags=re.DOTALL)
    assert not re.search(r"[\"“'‘].*[\"”'’]", instructions)  # nothing is quoted
    words = re.findall(r"\w+", instructions)
    runs = [" ".join(words[i : i + n]) for n in range(2, 7) for i in range(len(words) - n)]
    clauses = [part for part in re.split(r"[.,:;\n]", instructions) if len(part.split()) > 1]
    for part in [*runs, *clauses]:
        answer = json.dumps({"phrases": [part, "red star"]})
        across = len(re.findall(r"\w+", part)) > 1 and without_echoes(parse_phrases(answer) or [], text) != ["red star"]
        assert not across or " ".join(re.findall(r"\w+", part.lower())) not in text.lower(), part


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize(
    "answer",
    [
        '{"phrases": ["..."]}',
        '{"phrases": ["…", "***", "!?"]}',
        '{"phrases": ["0.812 ± 0.020"]}',
        '{"phrases": ["dog: 0.812 ± 0.020", "dog: 0.81"]}',
        '{"phrases": ["1", "2", "3,000"]}',
        '{"phrases": ["2024-01-05", "5 January", "March 5, 2024", "05/01/24", "12:30"]}',
        '{"phrases": ["phrase 1", "phrase 2"]}',
        '{"phrases": ["a", "of", "The", "on a"]}',
        '{"phrases": ["a phrase", "one concept", "captions", "JSON"]}',
        '{"phrases": ["plain words", "nothing else"]}',
        '{"phrases": ["A unit of a vision network", "image captions"]}',
    ],
)
def test_what_weak_models_say_is_no_answer(name: str, answer: str) -> None:
    if "plain words" in answer or "vision network" in answer:
        text = whole(QUESTIONS[name])
        kept = without_echoes(parse_phrases(answer) or [], text)
        assert not [phrase for phrase in kept if phrase.lower() in text.lower()]
    else:
        assert without_echoes(parse_phrases(answer) or [], whole(QUESTIONS[name])) == []


@pytest.mark.parametrize(
    "phrase",
    [
        "dogs",
        "two dogs",
        "a black dog on grass",
        "3 dogs",
        "label 0",
        "2 marbles",
        "may flowers",
        "a may pole",
        "K9",
        "word search",
        "data centre",
        "phrase book",
        "number plate 7",
        "24-hour clock",
        "canines outdoors",
        "猫",
    ],
)
def test_what_may_be_an_answer_is_kept(phrase: str) -> None:
    for question in QUESTIONS.values():
        found = without_echoes(parse_phrases(json.dumps({"phrases": [phrase]})) or [], whole(question))
        assert found == [phrase]
        assert clean(phrase)


def test_one_of_several_captions_is_no_summary() -> None:
    assert without_echoes([CAPTIONS[1]], whole(QUESTIONS["summarise"])) == []
    assert without_echoes([f"{CAPTIONS[1].upper()}."], whole(QUESTIONS["SWAP"])) == []
    assert without_echoes([CAPTIONS[1]], whole(QUESTIONS["simplify"])) == [CAPTIONS[1]]  # it may be short enough


def test_old_examples_are_gone() -> None:
    for question in QUESTIONS.values():
        assert not re.search(r"…|\.\.\.|canines|puppies|\[\"", whole(question).split("<data>")[0])
