"""Labels that were given: their verdicts as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import dnr_env
from dnr_env.evaluation.verdicts import read_sources
from dnr_env.stack import Stack


def test_judged_labels_are_saved_with_a_report(tmp_path: Path) -> None:
    judged = dnr_env.judge(labels={"layer4:5": "huge striped thing", "layer3:10": "red star"}, progress=False)
    page = judged.save(tmp_path).read_text(encoding="utf-8")
    assert "huge striped thing" in page
    assert "red star" in page
    assert page.count('alt="image of ') == 20
    assert (tmp_path / "judged.csv").read_text(encoding="utf-8").count("\n") == 3


class AnyText:
    """A language in which every text is a concept."""

    def normalise(self, text: str) -> str:
        return text


def test_only_the_apostrophe_that_quotes_a_formula_is_removed(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    labels = ["'=1", "'-striped", "'round' thing", "'", "red"]
    path.write_text("neuron,label\n" + "".join(f"layer4:5,{label}\n" for label in labels), encoding="utf-8")
    plain = replace(stack, language=cast(Any, AnyText()))
    assert [text for _, text in read_sources(path, plain)[0].labels] == ["=1", "-striped", "'round' thing", "'", "red"]
