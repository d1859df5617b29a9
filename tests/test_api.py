"""The Python API: a model in memory is named as the command line names a stack, and comes back as it was."""

from __future__ import annotations

import copy
import csv
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dnr_env
from dnr_env import DnRError, Labels, Rules
from dnr_env.api import names_of
from dnr_env.cli.main import main
from dnr_env.neurons import Neurons
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Stack


def small_net(seed: int = 0) -> nn.Sequential:
    """Three layers: maps, maps, and a number that is no neuron."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=4),
        nn.ReLU(),
        nn.BatchNorm2d(8),
        nn.Dropout(0.5),
        nn.Conv2d(8, 4, 3, stride=2),
        nn.ReLU(),
    )


def halves(images: torch.Tensor) -> torch.Tensor:
    """A transform of (n, 3, h, w) bytes."""
    return images.float() / 255 - 0.5


def named(model: Any = None, **options: Any) -> Labels:
    return dnr_env.label(
        model or small_net(), "4", **{"preprocess": halves, "progress": False, "neurons": range(3), **options}
    )


def test_a_model_in_memory_is_named_and_left_as_it_was() -> None:
    model = small_net().train()
    model[2].eval()
    frozen = next(model.parameters()).requires_grad_(False)
    state, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    labels = named(model)
    assert [label.neuron for label in labels] == ["4:0", "4:1", "4:2"]
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert not frozen.requires_grad
    assert next(model[4].parameters()).requires_grad
    loss = model(torch.rand(2, 3, 64, 64)).sum()
    loss.backward()
    assert model[4].weight.grad is not None


def test_labels_explain_the_model_they_were_made_for() -> None:
    """The label of the real model foretells it better than the labels of another one do."""
    labels = named(neurons=None)
    others = named(small_net(1), neurons=None)
    ours = np.mean([label.simulation or 0 for label in labels])
    theirs = dnr_env.judge(
        small_net(), "4", {label.neuron: label.text for label in others}, preprocess=halves, progress=False
    )
    assert ours > np.mean([label.simulation or 0 for label in theirs]) + 0.1


def test_a_label_has_its_evidence() -> None:
    label = named(agent="dnr")[1]
    evidence = label.evidence
    assert label.text == evidence.choices[0]
    assert label.text in [text for text, *_ in evidence.concepts]
    assert evidence.bill["images"] == label.record["images"] > 0
    assert [exemplar.rank for exemplar in evidence.exemplars] == list(range(1, 11))
    strengths = [exemplar.activation for exemplar in evidence.exemplars]
    assert strengths == sorted(strengths, reverse=True)
    assert evidence.exemplar_images[0].shape == (64, 64, 3)
    assert len(evidence.drawings) == 10


def test_labels_are_a_table(tmp_path: Path) -> None:
    labels = named()
    frame = labels.to_pandas()
    assert frame["label"].tolist() == [label.text for label in labels]
    page = labels.save(tmp_path / "out")
    assert page.read_text().count("<figure>") == 3 * 20
    rows = list(csv.DictReader((tmp_path / "out" / "exemplars.csv").read_text().splitlines()))
    assert len(rows) == 30
    assert float(rows[0]["activation"]) == labels[0].evidence.exemplars[0].activation
    shown = labels._repr_html_()
    assert shown.count("<tr>") == 4
    assert labels[0].text in shown
    assert labels.of("4:1") is labels[1]
    assert labels[1:] == [labels[1], labels[2]]
    with pytest.raises(DnRError, match=r"`neuron` must be one that was labelled \(got '4:9'\)"):
        labels.of("4:9")


def test_the_command_line_says_the_same(tmp_path: Path) -> None:
    main(["label", "--neurons", "layer2:0-3", "--agent", "dnr@informed", "--out", str(tmp_path / "command")])
    labels = dnr_env.label(layer="layer2", neurons=range(4), agent="dnr@informed", progress=False)
    labels.save(tmp_path / "api")
    files = [tmp_path / place / "labels.csv" for place in ("command", "api")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_folder_grows_and_is_not_mixed(tmp_path: Path) -> None:
    first = named(neurons=[0], out=tmp_path)
    assert len(first) == 1
    both = named(neurons=[1], out=tmp_path)
    assert [label.neuron for label in both] == ["4:0", "4:1"]
    assert both[0].record == first[0].record
    assert len((tmp_path / "labels.jsonl").read_text().splitlines()) == 2
    with pytest.raises(DnRError, match=r"`out` must be .*another reader"):
        named(small_net(1), out=tmp_path)
    with pytest.raises(DnRError, match=r"`out` must be .*another seed"):
        named(seed=3, out=tmp_path)
    with pytest.raises(DnRError, match=r"`out` must be .*another images_per_measure"):
        named(rules=Rules(images_per_measure=3), out=tmp_path)
    assert len((tmp_path / "labels.jsonl").read_text().splitlines()) == 2


def test_agents_of_one_file_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from dnr_env.agents.loops import StopAgent\n\n\nclass A(StopAgent):\n    name = 'mine'\n\n\n"
        "class B(StopAgent):\n    name = 'mine'\n"
    )
    out = tmp_path / "out"
    named(neurons=[0], agent=f"python:{tmp_path / 'mine.py'}:A", out=out)
    for other in (f"python:{tmp_path / 'mine.py'}:B", f"python:{tmp_path / 'mine.py'}:A@informed", "stop"):
        with pytest.raises(DnRError, match=r"`out` must be .*another policy"):
            named(neurons=[0], agent=other, out=out)


def test_saved_labels_are_not_mixed_with_others(tmp_path: Path) -> None:
    labels = named()
    labels.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    judged = dnr_env.judge(small_net(), "4", {"4:0": "red star"}, preprocess=halves, progress=False)
    for other in (named(agent="stop"), named(small_net(1)), judged):
        with pytest.raises(
            DnRError, match=r"`out` must be an empty folder or one that was made with the same settings"
        ):
            other.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    named(neurons=[3]).save(tmp_path)
    assert len((tmp_path / "labels.jsonl").read_text().splitlines()) == 4
    (tmp_path / "settings.json").unlink()
    with pytest.raises(DnRError, match=r"`out` must be an empty folder or one with a settings\.json"):
        labels.save(tmp_path)


def test_users_that_are_functions_resume(tmp_path: Path) -> None:
    def users(neuron: int, rng: np.random.Generator) -> list[str]:
        return ["red star"]

    first = named(neurons=[0], user_concepts=users, out=tmp_path)
    assert named(neurons=[0], user_concepts=users, out=tmp_path).records == first.records
    with pytest.raises(DnRError, match="another user_concepts"):
        named(neurons=[0], user_concepts=["red star"], out=tmp_path)


def test_a_stack_around_a_model_stays_in_its_process() -> None:
    with pytest.raises(DnRError, match="cannot be sent to another process"):
        pickle.dumps(named().stack)


def test_a_function_is_a_model() -> None:
    model = small_net().eval()

    def maps(images: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = model(images)
        return out

    labels = dnr_env.label(maps, "output", preprocess=halves, progress=False)
    found = [named(model, neurons=None)[i] for i in range(4)]
    assert [(one.text, one.auc) for one in labels] != []
    # The last module's output, after ReLU, and not that of the layer before it: other activations, names of its own.
    assert [label.neuron for label in labels] == [f"output:{i}" for i in range(4)]
    assert len(found) == len(labels)


def test_exemplars_need_no_more_than_a_model_and_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 50, 3), dtype=np.uint8) for _ in range(30)]
    model = small_net().eval()
    found = dnr_env.exemplars(model, "1", images, preprocess=halves, progress=False)
    with torch.no_grad():
        truth = np.stack(
            [model[:2](halves(torch.from_numpy(i).permute(2, 0, 1)[None])).mean((2, 3))[0] for i in images]
        )
    for neuron in range(8):
        rows = [row for row in found if row.neuron == f"1:{neuron}" and row.band == "top"]
        order = np.argsort(-truth[:, neuron])[:10]
        assert [row.image for row in rows] == [f"#{i}" for i in order]
        np.testing.assert_allclose([row.activation for row in rows], truth[order, neuron], atol=1e-5)
    assert np.array_equal(found.images("1:0")[0], images[int(found[0].image[1:])])
    page = found.save(tmp_path)
    assert page.read_text().count("<a href=") == 8 * 15  # ten exemplars, and five in the middle of 30 images
    assert found.to_pandas()["rank"].tolist()[:3] == [1, 2, 3]


def test_maps_that_do_not_follow_the_image_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mT

    images = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(30)]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), Turned())
    found = dnr_env.exemplars(net, ["0", "1"], images, preprocess=halves, progress=False)
    assert found.overlays("0:0")
    assert found.overlays("1:0") is None
    assert "there is no heat map" in found.save(tmp_path).read_text()
    assert caplog.text.count("no heat maps are shown of 1, whose maps do not follow the image") == 1


def test_a_model_in_memory_takes_the_settings_of_the_target() -> None:
    spec = "shapes target.network=torchvision:resnet18 target.neurons=1-2 target.pooling=max"
    images = Renderer().generate(["red star"] * 3, [1, 2, 3])
    found = dnr_env.exemplars(small_net(), "1", stack=spec, preprocess=halves, progress=False).stack.lab.reader
    assert found.neurons == ("1:1", "1:2")
    truth = small_net()[:2](halves(torch.from_numpy(images).permute(0, 3, 1, 2))).amax((2, 3))[:, 1:3]
    np.testing.assert_allclose(found.read(images)[0], truth.detach(), atol=1e-6)
    mean = dnr_env.exemplars(small_net(), "1", stack=spec, preprocess=halves, pooling="mean", progress=False)
    assert (mean.stack.lab.reader.read(images)[0] < found.read(images)[0]).any()
    with pytest.raises(DnRError, match=r"^`neurons` must be left out where a network is given: .*\(got directions\)$"):
        named(stack="shapes neurons=directions")


def test_labels_that_anybody_made_are_judged(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("method,neuron,label\nx,layer4:0,huge star\ny,layer4:1,'=red thing\ny,layer4:0,blue ring\n")
    judged = dnr_env.judge(labels=path, out=tmp_path / "out", progress=False)
    assert [(label.neuron, label.text) for label in judged] == [
        ("layer4:0", "huge star"), ("layer4:1", "red thing"), ("layer4:0", "blue ring"),
    ]  # fmt: skip
    again = dnr_env.judge(labels={"layer4:0": "huge star"}, out=tmp_path / "out", progress=False)
    assert again[0].record == {**judged[0].record, "source": "labels"}
    assert len((tmp_path / "out" / "judged.jsonl").read_text().splitlines()) == 3
    labels = dnr_env.label(neurons=["layer4:0"], progress=False)
    assert dnr_env.judge(labels={"layer4:0": labels[0].text}, progress=False)[0].value == labels[0].value


def test_a_file_of_many_labels_is_judged_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def count(stack: Stack, labels: Sequence[object], **more: object) -> list[object]:
        asked.append(len(labels))
        return []

    monkeypatch.setattr("dnr_env.evaluation.verdicts.judge", count)
    path = tmp_path / "many.csv"
    path.write_text("neuron,label\n" + "layer4:0,huge star\nlayer4:1,red thing\n" * 50_000)
    with pytest.raises(ValueError, match="zip"):  # the stand-in gives no verdicts
        dnr_env.judge(labels=path, progress=False)
    assert asked == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("neuron,label\nlayer9:0,star\n", r"`neuron` must be one of layer.* \(got 'layer9:0'\)"),
        (
            "neuron,text\nlayer4:0,star\n",
            r"`labels` must have a column neuron or unit, and a column label or .* \(got neuron, text in ",
        ),
        ("", r"`labels` must have a column neuron or unit, and .* \(got none in "),
        ("neuron,label\n", r"`labels` must hold at least one label \(got none\)"),
        ("neuron,label\nlayer4:0,zork\n", r"`labels` row 1 of labels\.csv \(layer4:0\): `concept` must contain"),
        ("neuron,label\nlayer4:0\n", r"`labels` row 1 of labels\.csv \(layer4:0\): `concept` must contain"),
    ],
)
def test_bad_label_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(DnRError, match=message) as caught:
        dnr_env.judge(labels=path, out=tmp_path / "out", progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_ranking_is_of_the_labels() -> None:
    ranking = dnr_env.rank(layer="layer1", neurons=range(5), progress=False)
    given = {str(row["neuron"]): str(row["label"]) for row in ranking}
    assert dnr_env.rank(labels=given, progress=False).rows == ranking.rows
    assert sorted(row["log_k_rank"] for row in ranking) == [1, 2, 3, 4, 5]


def test_a_ranking_is_of_what_was_asked_for(tmp_path: Path) -> None:
    dnr_env.rank(layer="layer1", neurons=[0, 1], out=tmp_path, progress=False)
    ranking = dnr_env.rank(layer="layer2", neurons=[3], out=tmp_path, progress=False)
    assert [row["neuron"] for row in ranking] == ["layer2:3"]


def test_a_ranking_pools_as_it_is_told() -> None:
    given = {"4:0": "red star", "4:1": "big thing", "4:2": "star"}
    mean, most = (
        dnr_env.rank(small_net(), "4", labels=given, preprocess=halves, pooling=pooling, progress=False)
        for pooling in ("mean", "max")
    )
    assert mean.rows != most.rows


def test_seeds_may_be_of_numpy() -> None:
    assert named(seed=np.int64(2)).records == named(seed=2).records


FIVE: Any = 5


class Silent(nn.Module):
    def forward(self, images: torch.Tensor) -> None:
        return None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dnr_env.label(small_net(), "44", progress=False), r"must be one of .*4.* \(got '44'\)"),
        (lambda: dnr_env.label(small_net(), [], progress=False), r"`layers` must name at least one module"),
        (lambda: dnr_env.label(small_net(), progress=False), r"`layer` must name a module of the model"),
        (lambda: dnr_env.label(3, "4", progress=False), r"`model` must be a torch module, a function, or a text"),
        (lambda: dnr_env.label(small_net(), "4", images=[], progress=False), r"0 usable images"),
        (lambda: dnr_env.label(neurons="layer4:0", agent="nobody", progress=False), r"`agent` must be one of"),
        (lambda: dnr_env.label(neurons="layer4:0", seed=-1, progress=False), r"`seed` must be a whole number"),
        (lambda: dnr_env.label(neurons="layer4:0", seed=True, progress=False), r"`seed` must be a whole number"),
        (lambda: dnr_env.label(neurons="layer4:0", pooling="max", progress=False), r"`pooling` must be left out"),
        (lambda: dnr_env.label(layer="layer3", neurons="test", progress=False), r"`neurons` must lie in the layers"),
        (lambda: dnr_env.label(layer="layer3", neurons=FIVE, progress=False), r"`neurons` must be"),
        (lambda: dnr_env.label(neurons=[], progress=False), r"`neurons` must name at least one neuron"),
        (lambda: dnr_env.label(neurons=["layer4:900"], progress=False), r"`neurons` must be one of"),
        (lambda: dnr_env.label(layer="layer7", neurons=[0], progress=False), r"`layer` must be one of"),
        (lambda: dnr_env.exemplars(small_net(), "1", [], progress=False), r"0 usable images"),
        (lambda: dnr_env.exemplars(small_net(), "1", [3] * 30, progress=False), r"`images` .*got int as item 0"),
        (lambda: dnr_env.exemplars(small_net(), "1", 7, progress=False), r"`images` must be a folder.*got int"),
        (lambda: dnr_env.judge(labels=None, progress=False), r"`labels` must hold at least one label"),
        (
            lambda: dnr_env.judge(labels={"layer4:0": 3}, progress=False),  # type: ignore[arg-type]
            r"`labels` must be pairs of two texts",
        ),
        (lambda: dnr_env.label(nn.Sequential(Silent()), "0", progress=False), r"return tensors .*NoneType"),
    ],
)  # fmt: skip
def test_bad_arguments_say_what_is_accepted(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(DnRError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_numbers_are_indices_within_the_layer() -> None:
    known = Neurons(("a:0", "a:1", "b:0", "b:5"))
    assert names_of(known, "b", [5]) == ["b:5"]
    assert names_of(known, "b", None) == ["b:0", "b:5"]
    assert names_of(known, None, [3, "a:0"]) == ["a:0", "b:5"]
    assert names_of(known, "b", "b:0") == ["b:0"]
    assert names_of(known, ["b"], None) == ["b:0", "b:5"]
    assert names_of(known, ["a", "b"], None) == list(known)
    for layer in ("x", "x.sae", "?"):
        assert names_of(Neurons(("x.sae:3",)), layer, None) == ["x.sae:3"]


@pytest.mark.parametrize("layer", ["b:0-5", "b:5", "test", "train", "a,b", "a:test", "", ":"])
def test_what_names_no_layer_does_not_stand_for_all_of_them(layer: str) -> None:
    with pytest.raises(DnRError, match=r"^`layer` must be one of"):
        names_of(Neurons(("a:0", "a:1", "b:0", "b:5")), layer, None)


def test_labels_of_layers_that_a_pattern_chooses_are_judged(tmp_path: Path) -> None:
    names, units = tmp_path / "names.csv", tmp_path / "units.csv"
    names.write_text("neuron,label\n1:0,red star\n4:3,blue thing\n")
    units.write_text("layer,unit,label\n1,0,red star\n4,3,blue thing\n")
    model = nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.ReLU(), nn.Conv2d(4, 4, 3))
    choices: list[tuple[str | list[str], Path]] = [("all", names), ("[14]", units), (["1", "4"], units)]
    for layer, path in choices:
        judged = dnr_env.judge(model, layer, path, preprocess=halves, progress=False)
        assert [label.neuron for label in judged] == ["1:0", "4:3"]


def test_numbers_choose_labels_within_the_layer() -> None:
    labels = {"layer4:0": "star", "layer4:1": "ring", "layer3:0": "star"}
    judged = dnr_env.judge(layer="layer4", labels=labels, neurons=[1], progress=False)
    assert [label.neuron for label in judged] == ["layer4:1"]
    judged = dnr_env.judge(layer="layer4", labels=labels, neurons="layer3", progress=False)
    assert [label.neuron for label in judged] == ["layer3:0"]


def test_a_failure_takes_no_labels_place_in_a_folder(tmp_path: Path) -> None:
    labels = dnr_env.label(neurons=["layer4:0", "layer4:1"], progress=False)
    labels.save(tmp_path)
    failed = [{**record, "label": "", "failure": "black"} for record in labels.records]
    Labels(failed, labels.stack, labels.agent, labels.rules, labels.settings).save(tmp_path)
    again = dnr_env.label(neurons=["layer4:0", "layer4:1"], out=tmp_path, progress=False)
    assert again.records == labels.records


def test_failures_of_neurons_that_are_not_asked_for_are_not_this_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["label", "--neurons", "layer4:0-2", "--out", str(tmp_path)])
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    broken = [{**row, "label": "", "failure": "black"} for row in rows[:2]]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*broken, rows[2]]))
    capsys.readouterr()
    main(["label", "--neurons", "layer4:2", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert said.startswith("1 labels")
    assert "failed" not in said


def test_the_package_is_light_to_import() -> None:
    heavy = ["torch", "transformers", "diffusers", "open_clip", "stable_baselines3", "scipy", "matplotlib", "pydantic"]
    code = f"import sys, json, dnr_env; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_bars_are_shown_unless_they_are_not_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    dnr_env.label(neurons="layer3:0-1", agent="dnr", rules=Rules(image_cost=0.001), progress=False)
    assert capfd.readouterr().err == ""
    dnr_env.label(neurons="layer3:2-3", agent="dnr", rules=Rules(image_cost=0.001))
    assert "neuron" in capfd.readouterr().err
