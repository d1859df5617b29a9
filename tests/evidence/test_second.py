"""The judge's own embedder: in an embedded world, and as a model of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_clip import write_clip
from small_world import fresh, language_model, small_world

import dnr_env
from dnr_env.errors import DnRError
from dnr_env.evaluation.judge import judge
from dnr_env.stack import Stack


def test_the_true_attributes_agree_with_what_the_detector_reads(stack: Stack) -> None:
    assert stack.judge_embedder
    alike = (stack.judge_embedder.embeddings * stack.probes.whole.embeddings).sum(axis=1)
    assert np.median(alike) > 0.99
    assert (alike < 0.9).any()  # the detector errs


def test_a_model_of_its_own_measures_the_real_images_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path / "cache"))
    with language_model() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        world = f"{small_world(tmp_path)} generator=null"
        other = write_clip(tmp_path / "other", seed=1)
        plain = fresh(world)
        own = fresh(f"{world} judge.embedder.model={other} judge.embedder.pretrained=null")
        same = fresh(f"{world} judge.embedder.model={tmp_path / 'clip'} judge.embedder.pretrained=null")
        asked = {"neurons": ["layer3:0", "layer3:9"], "labels": ["red star", "black dog"], "rules": dnr_env.Rules()}
        without, theirs, equal = (judge(each, **asked) for each in (plain, own, same))  # type: ignore[arg-type]
        assert plain.judge_embedder is None
        for none, another, search in zip(without, theirs, equal, strict=True):
            assert none.judge_simulation is None
            assert another.judge_simulation != another.simulation
            assert search.judge_simulation == pytest.approx(search.simulation, abs=1e-6)
            assert search.judge_simulation_error == pytest.approx(search.simulation_error, abs=1e-6)
            # The search sees nothing of it.
            assert none.simulation == another.simulation == search.simulation
        assert plain.probe.fingerprint == own.probe.fingerprint
        assert plain.lab.reader.fingerprint == own.lab.reader.fingerprint
        assert own.fingerprints()["judge's embedder"] != same.fingerprints()["judge's embedder"]

        again = fresh(f"{world} judge.embedder.model={other} judge.embedder.pretrained=null")
        assert again.judge_embedder
        monkeypatch.setattr("dnr_env.models.embedder.OpenClipEmbedder._embed_images", None)
        assert again.judge_embedder.embeddings.shape == own.probes.whole.embeddings.shape  # from the store

        with pytest.raises(DnRError, match=r"^`judge\.embedder\.model` must be one of .*\(got 'no-such'\)"):
            fresh(f"{world} judge.embedder.model=no-such")
