"""Models of the hub: the files that loading reads are downloaded, once, and no others; later nothing is asked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

for package in ("diffusers", "transformers", "open_clip", "timm"):
    pytest.importorskip(package)

from fake_hub import COMMIT, FakeHub  # noqa: E402
from hub_models import DECOYS, hub_models, use_hub  # noqa: E402
from small_clip import hub_id  # noqa: E402

from dnr_env.errors import DnRError  # noqa: E402
from dnr_env.models.captioner import HubCaptioner  # noqa: E402
from dnr_env.models.checkpoint import checkpoint, download_size  # noqa: E402
from dnr_env.models.embedder import OpenClipEmbedder  # noqa: E402
from dnr_env.models.generator import DiffusionGenerator  # noqa: E402
from dnr_env.models.hub import Source, find  # noqa: E402
from dnr_env.models.local_chat import LocalChat  # noqa: E402
from dnr_env.models.networks import load_network  # noqa: E402
from dnr_env.models.origin import of_network, of_source  # noqa: E402
from dnr_env.models.snapshot import (  # noqa: E402
    CAPTIONER,
    LANGUAGE_MODEL,
    OPEN_CLIP,
    Model,
    OneOf,
    Pipeline,
    Selection,
    folder_of,
    lacking,
    snapshot,
    unweighted,
)

BLANK = np.full((32, 32, 3), 99, np.uint8)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub_models(tmp_path_factory.mktemp("hub"))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(repositories: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub(repositories) as running:
        use_hub(monkeypatch, running.url)
        yield running


class Kind(NamedTuple):
    """A model that is loaded from the hub."""

    repositories: tuple[str, ...]
    load: Callable[..., Any]
    """Takes the revision."""
    written: str
    """The user's own setting, as an error names it."""


def _at(name: str, revision: str | None) -> str:
    return f"{name}@{revision}" if revision else name


def _write(revision: str | None) -> Any:
    chat = LocalChat("small/write", revision=revision, device="cpu", max_tokens=8)
    chat.load()
    return chat


def _draw(revision: str | None, **options: Any) -> Any:
    settings = {"size": 32, "batch": 1, "device": "cpu", **options}
    return DiffusionGenerator("small/draw", revision=revision, **settings).generate(["dog"], [0])


KINDS = {
    "captioner": Kind(
        ("small/caption",),
        lambda revision: HubCaptioner("small/caption", revision=revision, device="cpu").caption([BLANK]),
        "`captioner.model` 'small/caption'",
    ),
    "generator": Kind(("small/draw",), _draw, "`generator.model` 'small/draw'"),
    "generator and small decoder": Kind(
        ("small/draw", "small/decode"),
        lambda revision: _draw(revision, tiny_vae="small/decode", tiny_vae_revision=revision),
        "`generator.model` 'small/draw'",
    ),
    "generator of the judge": Kind(
        ("small/draw",),
        lambda revision: _draw(revision, option="judge.generator"),
        "`judge.generator.model` 'small/draw'",
    ),
    "embedder": Kind(
        ("small/clip",),
        lambda revision: OpenClipEmbedder(_at("hf-hub:small/clip", revision), device="cpu").embed_texts(["a"]),
        "`embedder.model` 'hf-hub:small/clip",
    ),
    "target of transformers": Kind(
        ("small/see",),
        lambda revision: load_network(_at("hf:small/see", revision), "DEFAULT"),
        "`target.network` 'hf:small/see",
    ),
    "target of open_clip": Kind(
        ("small/clip",),
        lambda revision: load_network(_at("open_clip:hf-hub:small/clip", revision), "DEFAULT"),
        "`target.network` 'hf-hub:small/clip",
    ),
    "target of timm": Kind(
        (hub_id("test_vit"),),
        lambda revision: load_network("timm:test_vit", "DEFAULT"),
        "`target.network` 'timm:test_vit' (",
    ),
    "local writer": Kind(("small/write",), _write, "`writer.model` 'hf:small/write'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_loading_reads_is_downloaded_once(kind: str, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    names, load, _ = KINDS[kind]
    load(None)
    sent = {name: size for name, size in hub.sent.items() if name.startswith(names)}
    assert sent == hub.sent
    assert sent
    assert not [name for name in sent if name.split("/", 2)[2] in DECOYS]
    if "decoder" in kind:
        assert not [name for name in sent if "/vae/" in name]  # the pipeline's own is not used
    refuse_sockets(monkeypatch)
    load(COMMIT)  # anew, from the cache


def refuse_sockets(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Refuse every connection, and return a list of the attempts."""
    tried: list[object] = []

    def refuse(*arguments: object, **_: object) -> Any:
        tried.append(arguments[-1])
        raise ConnectionRefusedError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    return tried


@pytest.mark.parametrize("revision", [None, COMMIT])
@pytest.mark.parametrize("kind", KINDS)
def test_without_a_route_one_attempt_is_made_and_the_setting_named(
    kind: str, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub(monkeypatch, "http://127.0.0.1:9")
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    tried = refuse_sockets(monkeypatch)
    with pytest.raises(DnRError) as caught:
        KINDS[kind].load(revision)
    assert str(caught.value).startswith(KINDS[kind].written)
    assert "the hub cannot be reached: load it once while online, or name a folder" in str(caught.value)
    assert len(tried) <= 2  # addresses of one host
    assert not slept  # nothing is tried again


@pytest.mark.parametrize("revision", [None, COMMIT])
@pytest.mark.parametrize("kind", KINDS)
def test_offline_no_attempt_is_made_and_the_setting_named(
    kind: str, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tried = refuse_sockets(monkeypatch)
    with pytest.raises(DnRError) as caught:
        KINDS[kind].load(revision)
    assert str(caught.value).startswith(KINDS[kind].written)
    assert str(caught.value).endswith("is not in the hub's cache, and HF_HUB_OFFLINE forbids downloading it")
    assert not tried


@pytest.mark.parametrize(
    ("name", "selection", "lost"),
    [
        ("small/caption", CAPTIONER, "model.safetensors"),
        ("small/caption", CAPTIONER, "config.json"),
        ("small/write", LANGUAGE_MODEL, "model-00002-of-00002.safetensors"),
        ("small/write", LANGUAGE_MODEL, "model.safetensors.index.json"),
        ("small/draw", Pipeline(), "unet/diffusion_pytorch_model.safetensors"),
        ("small/draw", Pipeline(), "text_encoder/model.safetensors"),
        ("small/draw", Pipeline(), "model_index.json"),
        ("small/clip", OPEN_CLIP, "open_clip_model.safetensors"),
    ],
)
def test_a_download_that_was_cut_off_goes_on(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, name: str, selection: Model | Pipeline, lost: str
) -> None:
    source = Source(name, COMMIT, "`x`")
    file = folder_of(source, selection) / lost
    file.resolve().unlink()  # the link to it stays
    assert not selection.there(snapshot(source))
    hub.sent.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DnRError, match=r"^`x` is not complete in the hub's cache, and HF_HUB_OFFLINE forbids"):
        folder_of(source, selection)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert of_source(source, selection).download == (hub.folder / name / lost).stat().st_size
    folder_of(source, selection)
    assert list(hub.sent) == [f"{name}/{lost}"]
    assert file.is_file()


def test_a_configuration_is_read_without_the_weights(hub: FakeHub) -> None:
    assert "gpt2" in LocalChat("small/write", device="cpu").check()
    assert OpenClipEmbedder("hf-hub:small/clip", device="cpu").dim == 24
    assert load_network("hf:small/see", "none").module
    assert hub.sent
    assert not [name for name in hub.sent if name.endswith(".safetensors")]
    assert lacking(find("writer.model", "small/write"), LANGUAGE_MODEL).keys() == {
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    }  # fmt: skip


LISTED: dict[str, tuple[Selection, list[str], list[str]]] = {
    "a turbo pipeline": (
        Pipeline(),
        [
            "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json",
            "text_encoder/model.safetensors", "tokenizer/merges.txt", "tokenizer/vocab.json", "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
        ],
        [
            "README.md", "LICENSE.md", "sd_turbo.safetensors", "text_encoder/model.fp16.safetensors",
            "unet/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors",
            "unet/openvino_model.bin", "output_tile.jpg",
        ],
    ),
    "a pipeline with a safety checker, in several formats": (
        Pipeline(),
        [
            "model_index.json", "feature_extractor/preprocessor_config.json", "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
        ],
        [
            "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.ckpt", "safety_checker/config.json",
            "safety_checker/model.safetensors", "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.non_ema.safetensors", "vae_encoder/deeper/model.safetensors",
        ],
    ),
    "a pipeline with a decoder of its own": (
        Pipeline(("safety_checker", "vae")),
        ["unet/config.json", "unet/diffusion_pytorch_model-00001-of-00002.safetensors"],
        ["vae/diffusion_pytorch_model.safetensors", "vae/config.json"],
    ),
    "a captioner": (
        CAPTIONER,
        ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "vocab.txt"],
        ["pytorch_model.bin", "tf_model.h5", "README.md", ".gitattributes", "original/model.safetensors"],
    ),
    "a language model in shards": (
        LANGUAGE_MODEL,
        [
            "config.json", "generation_config.json", "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors", "tokenizer.model", "chat_template.jinja",
        ],
        ["consolidated.safetensors", "pytorch_model-00001-of-00002.bin", "original/params.json", "model.gguf"],
    ),
    "its configuration": (
        unweighted(LANGUAGE_MODEL), ["config.json", "tokenizer.json"], ["model.safetensors"],
    ),
    "a CLIP that is a timm model too": (
        OPEN_CLIP,
        ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"],
        ["model.safetensors", "open_clip_pytorch_model.bin"],
    ),
    "a file of a tag": (OneOf(("a.safetensors", "a.bin")), ["a.safetensors"], ["a.bin", "config.json"]),
    "a file of a tag without safetensors": (OneOf(("a.safetensors", "a.bin")), ["a.bin"], ["config.json"]),
    "pickles alone": (CAPTIONER, [], ["config.json", "pytorch_model.bin", "tokenizer.json"]),
    "a pipeline in one file": (Pipeline(), [], ["whole.safetensors", "config.json", "model_index.json"]),
}  # fmt: skip


@pytest.mark.parametrize("case", LISTED)
def test_the_files_of_a_repository(case: str) -> None:
    selection, read, left = LISTED[case]
    assert sorted(selection.wanted([*left, *read])) == sorted(read)


def test_a_repository_of_pickles_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("caption", "draw", "see"):
        (tmp_path / "hub" / "pickled" / name).mkdir(parents=True)
        for file in ("config.json", "pytorch_model.bin", "model_index.json"):
            (tmp_path / "hub" / "pickled" / name / file).write_text("{}")
    with FakeHub(tmp_path / "hub") as hub:
        use_hub(monkeypatch, hub.url)
        for load in (
            lambda: HubCaptioner("pickled/caption", device="cpu").caption([BLANK]),
            lambda: DiffusionGenerator("pickled/draw", device="cpu").generate(["a"], [0]),
            lambda: load_network("hf:pickled/see", "DEFAULT"),
            lambda: OpenClipEmbedder("hf-hub:pickled/see", device="cpu").embed_texts(["a"]),
        ):
            with pytest.raises(DnRError, match=r"^`[a-z.]+` '.*pickled/.*it has no safetensors, and other"):
                load()
        assert not hub.sent


def test_weights_at_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    url = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.url
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "net.pth").write_bytes(b"x" * 1234)
    with FakeHub(tmp_path / "files") as hub:
        assert download_size("`target.weights` DEFAULT", f"{hub.url}/net.pth") == 1234
        assert not hub.sent
        with pytest.raises(DnRError, match=r"^`x` needs other.pth, which is not .*, and 127.0.0.1 does not give it: "):
            download_size("`x`", f"{hub.url}/other.pth")
    refuse_sockets(monkeypatch)
    for ask in (of_network, load_network):
        with pytest.raises(DnRError, match=r"^`target.weights` DEFAULT needs squeeze.*, and \S+ cannot be reached"):
            ask("torchvision:squeezenet1_1", "DEFAULT")
    checkpoint(url).parent.mkdir(parents=True)
    checkpoint(url).touch()
    found = of_network("torchvision:squeezenet1_1", "DEFAULT")
    assert (found.download, found.text.endswith("in torch.hub's checkpoints")) == (0, True)
