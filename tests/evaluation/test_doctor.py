"""The doctor on a stack whose models are on a hub: what is there, what would be downloaded, what cannot be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

for package in ("diffusers", "transformers", "open_clip", "timm"):
    pytest.importorskip(package)

from fake_hub import FakeHub  # noqa: E402
from hub_models import hub_models, use_hub  # noqa: E402
from PIL import Image  # noqa: E402

from dnr_env.evaluation.doctor import Finding, examine  # noqa: E402

MODELS = {
    "target": "small/see",
    "captioner": "small/caption",
    "writer": "small/write",
    "generator": "small/draw",
    "judge": "small/draw",
    "embedder": "small/clip",
}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub_models(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def hub(repositories: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with FakeHub(repositories) as running:
        use_hub(monkeypatch, running.url)
        yield running


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "photos").mkdir()
    for i in range(20):
        Image.new("RGB", (40, 40), (i, 0, 0)).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "words.txt").write_text("dog\nred star\n")
    drawing = {"model": "small/draw", "size": 32, "batch": 1}
    config = {
        "target": {"network": "hf:small/see", "layers": "layernorm"},
        "probe": {"images": "photos"},
        "captioner": {"model": "small/caption"},
        "writer": {"model": "hf:small/write", "max_tokens": 8},
        "generator": {**drawing, "tiny_vae": "small/decode"},
        "judge": {"generator": drawing},
        "embedder": {"model": "hf-hub:small/clip", "pretrained": None},
        "vocabulary": "words.txt",
        "device": "cpu",
    }
    (tmp_path / "stack.yaml").write_text(yaml.safe_dump(config))
    return str(tmp_path / "stack.yaml")


def findings(spec: str, load: bool = False) -> dict[str, Finding]:
    return {finding.name: finding for finding in examine(spec, load)}


def test_a_new_machine_is_told_what_it_would_download(hub: FakeHub, spec: str) -> None:
    found = findings(spec)
    for name, model in MODELS.items():
        assert found[name].fine
        assert found[name].download > 0
        assert str(found[name]).startswith("LOAD")
        assert model in found[name].text
        assert re.search(r"not in the hub's cache: [\d.]+ MB would be downloaded", found[name].text)
    assert "small/decode" in found["generator"].text
    assert not hub.sent  # asking is free
    promised = sum(found[name].download for name in MODELS)
    assert found["downloads"].download == promised

    loaded = findings(spec, load=True)
    assert not [str(finding) for finding in loaded.values() if finding.download or not finding.fine]
    assert "downloads" not in loaded
    # What the search and the judge share is named for both, and sent once.
    shared = [size for name, size in hub.sent.items() if "small/draw" in name and "/vae/" not in name]
    assert sum(hub.sent.values()) + sum(shared) == promised

    hub.sent.clear()
    hub.listed.clear()
    for name, finding in findings(spec).items():
        assert str(finding).startswith("ok"), finding
        assert (name in MODELS) == ("in the hub's cache" in finding.text)
    assert not hub.listed
    assert not hub.sent


OWN = {
    "target": "`target.network` 'hf:small/see'",
    "captioner": "`captioner.model` 'small/caption'",
    "writer": "`writer.model` 'hf:small/write'",
    "generator": "`generator.model` 'small/draw'",
    "judge": "`judge.generator.model` 'small/draw'",
    "embedder": "`embedder.model` 'hf-hub:small/clip'",
}


@pytest.mark.parametrize("load", [False, True])
@pytest.mark.parametrize("offline", [False, True])
def test_without_a_hub_each_setting_is_named_and_nothing_is_tried_again(
    spec: str, load: bool, offline: bool, monkeypatch: pytest.MonkeyPatch, hub: FakeHub
) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9")
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    found = findings(spec, load)
    for name, setting in OWN.items():
        assert not found[name].fine
        assert found[name].text.startswith(f"{setting} ")
        assert ("HF_HUB_OFFLINE" if offline else "the hub cannot be reached") in found[name].text
    assert not slept
    assert {name for name, finding in found.items() if not finding.fine} == {*OWN}


@pytest.mark.parametrize(
    ("setting", "name", "said"),
    [
        (
            "captioner.model=small/captions",
            "captioner",
            "`captioner.model` 'small/captions' cannot be loaded; the hub ",
        ),
        ("writer.model=hf:small/writer", "writer", "`writer.model` 'hf:small/writer' cannot be loaded; the hub has"),
        ("embedder.model=hf-hub:small/clap", "embedder", "`embedder.model` 'hf-hub:small/clap' cannot be loaded; the "),
        (
            "judge.embedder.model=hf-hub:small/clap judge.embedder.pretrained=null",
            "judge's embedder",
            "`judge.embedder.model` 'hf-hub:small/clap' cannot be loaded; the hub has",
        ),
        ("target.network=hf:small/saw", "target", "`target.network` 'hf:small/saw' cannot be loaded; the hub has"),
        ("judge.generator.model=small/drew", "judge", "`judge.generator.model` 'small/drew' cannot be loaded; the hub"),
        ("generator.tiny_vae=small/code", "generator", "`generator.tiny_vae` 'small/code' cannot be loaded; the"),
        ("generator.model=small/decode", "generator", "`generator.model` 'small/decode' cannot be loaded; it has no "),
        ("target.network=timm:resnet18.nope", "target", "`target.network` 'timm:resnet18.nope' cannot be"),
        ("target.network=timm:resnet19", "target", "`target.network` must be one of timm:"),
        ("target.network=open_clip:ViT-B-32/nope", "target", "`target.network` must be one of ViT-B-32/"),
        ("target.network=torchvision:resnet18 target.weights=V9", "target", "`target.weights` must be one of "),
        ("target.network=torchvision:resnet19", "target", "`target.network` must be one of torchvision:"),
        ("embedder.model=ViT-B-32 embedder.pretrained=nope", "embedder", "`embedder.model` must be one of ViT-B-32/"),
    ],
)
def test_a_model_that_is_nowhere_is_named_without_loading(
    hub: FakeHub, spec: str, setting: str, name: str, said: str
) -> None:
    found = findings(f"{spec} {setting}")
    assert [other for other, finding in found.items() if not finding.fine] == [name]
    assert found[name].text.startswith(said)
