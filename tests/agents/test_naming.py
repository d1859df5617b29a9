"""Agents by name, and the errors for names that are not agents."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from playing import random_policy
from trainings import options, policy

from dnr_env import DnRError
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.registry import make_agent


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dmr", r"`agent` must be one of dn.* \(got 'dmr'\)"),
        ("", r"`agent` must be one of stop, random.* \(got ''\)"),
        ("dnr:3", "`agent` must be one of dnr"),
        ("search:6", "`agent` must be one of .*'search:6'"),
        ("lookahead:2", "`agent` must be one of lookahead"),
        ("oracle:2", "`agent` must be one of oracle"),
        ("no/such/folder", "`agent` must be one of .*'no/such/folder'"),
        ("policy.zip", r"`agent` must not be a pickle, .* \(got 'policy.zip'"),
        (
            "clip-dissect@linear",
            r"must be an agent that plays episodes .* \(got 'clip-dissect@linear'",
        ),
        ("dnr@", r"one mutator after one @, such as dnr@informed \(got 'dnr@'\)"),
        ("dnr@linear@informed", "one mutator after one @, such as dnr@informed"),
        ("patience", r"must have the form patience:3: steps without a gain, 1 or more \(got 'patience'\)"),
        ("patience:", "must have the form patience:3"),
        ("patience:0", "1 or more"),
        ("patience:-2", "1 or more"),
        ("patience:x", r"must have the form patience:3.*\(got 'patience:x'\)"),
        ("patience:1.5", "1 or more"),
        ("patience:²", "1 or more"),
        ("patience:0@linear", "the form patience:3"),
        ("halving:x", r"must have the form halving:50: images, 1 or more \(got 'halving:x'\)"),
        ("halving:0", "the form halving:50"),
        ("halving:", "the form halving:50"),
        ("line", "the form line:10"),
        ("line:-1", "the form line:10"),
        ("lucb:x", r"must have the form lucb:0.25: standard errors, 0 to 100 \(got 'lucb:x'\)"),
        ("lucb:-1", "the form lucb:0.25"),
        ("lucb:inf", "the form lucb:0.25"),
        ("blend:2:0.2", "`agent` must be one of .*'blend:2:0.2'"),
        ("shortlist", r"must have the form shortlist:3:2: concepts, 1 to 8.*\(got 'shortlist'\)"),
        ("shortlist:9", "the form shortlist:3:2"),
        ("shortlist:3:0", "the form shortlist:3:2"),
        ("shortlist:3:1:1", "the form shortlist:3:2"),
        ("improve:x", r"must have the form improve:8: mutations, 0 or more \(got 'improve:x'\)"),
        ("gradient:8:0", "the form gradient:8:4:1.5:8"),
        ("gradient:8:4:-1", "the form gradient"),
        ("gradient:8:4:0.5:0", "the form gradient"),
        ("kinds:8:4:1", "the form kinds:12:4"),
        ("cover:8:2", "the form cover:12:0.1:0.5:4"),
        ("top-two:nan", "the form top-two:0.5"),
        ("top-two:2", r"the form top-two:0.5: a probability \(got 'top-two:2'\)"),
    ],
)
def test_a_name_that_is_no_agent_is_one_sentence(spec: str, message: str) -> None:
    with pytest.raises(DnRError, match=message) as caught:
        make_agent(spec)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_holds_no_policy(tmp_path: Path) -> None:
    with pytest.raises(DnRError, match=r"must be a folder that dnr-train wrote \(got .* which has no policy\.json\)"):
        make_agent(str(tmp_path))


def test_a_run_stands_for_its_best_policy(tmp_path: Path) -> None:
    for seed, value in enumerate((0.1, 0.3, -0.2)):
        policy = random_policy(seed)
        policy.card = {"validation_return": value}
        policy.save(tmp_path / f"seed-{seed}")
    best = make_agent(str(tmp_path))
    assert best.fingerprint == random_policy(1).fingerprint
    assert make_agent(str(tmp_path / "seed-2")).fingerprint == random_policy(2).fingerprint


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path / "caught"))
    run = tmp_path / "run"
    random_policy().save(run / "seed-0")
    for folder in (run, run / "seed-0"):
        for name in ("policy.zip", "policy.pkl", "policy.pt", "checkpoint.zip", "data.pkl"):
            (folder / name).write_bytes(trap)
    assert make_agent(str(run)).fingerprint == random_policy().fingerprint
    (run / "seed-0" / "policy.safetensors").write_bytes(trap)
    with pytest.raises(DnRError, match="damaged"):
        make_agent(str(run))
    assert not (tmp_path / "caught").exists()
    with pytest.raises(FileExistsError):  # the trap would have worked
        (pickle.loads(trap), pickle.loads(trap))


def test_a_folder_may_have_an_at_in_its_name(tmp_path: Path) -> None:
    shipped = make_agent("learned")
    assert isinstance(shipped, LearnedAgent)
    shipped.save(tmp_path / "mine@home")
    assert make_agent(str(tmp_path / "mine@home")).env_options == {"mutator": "informed"}
    assert make_agent(f"{tmp_path / 'mine@home'}@evidence").env_options == {"mutator": "evidence"}


def test_the_policy_of_the_package_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnr_env.agents.registry._SHIPPED", tmp_path / "learned")
    with pytest.raises(DnRError, match=r"`agent` must be .*learned, which has no policy\.json"):
        make_agent("learned")
    _, shipped = policy(options(network="set"), trained=False)
    shipped.save(tmp_path / "learned")
    again = make_agent("learned")
    assert (again.name, again.fingerprint) == ("learned", shipped.fingerprint)
