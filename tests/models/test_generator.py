"""The diffusion generator on a small checkpoint of the real classes: seeds, batches, black images, errors."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import generate  # noqa: E402
import small_models  # noqa: E402

from dnr_env.errors import DnRError  # noqa: E402
from dnr_env.models.generator import DiffusionGenerator, PromptCut  # noqa: E402
from dnr_env.models.pipelines import _LOADED  # noqa: E402

# Schedulers of diffusers 0.42 pass tensors to numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CONCEPTS = ["dog", "dog", "red star", "cat", "blue ring"]
SEEDS = [0, 1, 0, 7, 3]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "sd": small_models.small_diffusion(root / "sd"),
        "xl": small_models.small_xl(root / "xl"),
        "vae": small_models.tiny_vae(root / "vae"),
    }


Maker = Callable[..., DiffusionGenerator]


@pytest.fixture(autouse=True)
def apart() -> None:
    """Load a new pipeline for each test, because some tests patch it."""
    _LOADED.clear()


@pytest.fixture
def make(models: dict[str, Path]) -> Maker:
    def maker(model: str = "sd", **options: Any) -> DiffusionGenerator:
        return DiffusionGenerator(str(models[model]), **{"size": 32, "batch": 4, "device": "cpu", **options})

    return maker


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    tried: list[object] = []

    def refuse(self: socket.socket, address: object) -> None:
        tried.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tried


def every(generator: DiffusionGenerator, result: Callable[[int], float]) -> list[int]:
    """Replace the output of the decoder image by image, and return a list with one item per decoded image."""
    _LOADED.clear()
    drawn: list[int] = []
    pipeline = generator._pipeline
    decode = pipeline.vae.decode

    def patched(latents: Any, **options: Any) -> tuple[Any]:
        images = decode(latents, **options)[0].clone()
        for i in range(len(images)):
            factor = result(len(drawn))
            drawn.append(len(drawn))
            if factor != 1:
                images[i] = factor
        return (images,)

    pipeline.vae.decode = patched
    return drawn


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 2, "guidance": 4.0, "negative_prompt": "bad"},
        {"steps": 2, "scheduler": "EulerAncestralDiscreteScheduler"},  # draws noise at each step
    ],
    ids=["turbo", "guided", "ancestral"],
)
@pytest.mark.parametrize("model", ["sd", "xl"])
def test_an_image_is_a_function_of_its_prompt_and_seed(make: Maker, model: str, options: dict[str, Any]) -> None:
    images = make(model, **options).generate(CONCEPTS, SEEDS)
    assert images.shape == (5, 32, 32, 3)
    assert images.dtype == np.uint8
    differences = [np.abs(images[i].astype(int) - images[j]).mean() for i in range(5) for j in range(i)]
    assert min(differences) > 0.5
    order = [3, 1, 4, 0, 2]
    rows = make(model, **options).generate([CONCEPTS[i] for i in order], [SEEDS[i] for i in order])
    np.testing.assert_array_equal(rows, images[order])
    alone = make(model, batch=1, **options)
    for i in range(5):
        np.testing.assert_allclose(alone.generate([CONCEPTS[i]], [SEEDS[i]])[0], images[i].astype(float), atol=1)


def test_the_same_as_diffusers_alone(make: Maker, models: dict[str, Path]) -> None:
    from diffusers import StableDiffusionPipeline

    options: dict[str, Any] = {"guidance_scale": 3.0, "num_inference_steps": 2, "height": 32, "width": 32}
    pipeline = StableDiffusionPipeline.from_pretrained(models["sd"], safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "a photo of dog", negative_prompt="bad", generator=torch.Generator().manual_seed(5), output_type="np", **options
    ).images[0]
    image = make(steps=2, guidance=3.0, negative_prompt="bad").generate(["dog"], [5])[0]
    np.testing.assert_allclose(image, np.round(expected * 255), atol=1)


@pytest.mark.parametrize("model", ["sd", "xl"])
def test_kept_embeddings_are_those_of_the_prompt(make: Maker, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = make(model, steps=2, guidance=2.0, negative_prompt="bad")
    images = kept.generate(CONCEPTS, SEEDS)
    monkeypatch.setattr(kept, "_encode", None)  # fails if a prompt is encoded again
    np.testing.assert_array_equal(kept.generate(CONCEPTS, SEEDS), images)
    fresh = make(model, steps=2, guidance=2.0, negative_prompt="bad")
    monkeypatch.setattr("dnr_env.models.generator._EMBEDDINGS", {})  # as if the pipeline took its prompts as text
    np.testing.assert_allclose(fresh.generate(CONCEPTS, SEEDS), images.astype(float), atol=1)


def test_embeddings_are_computed_once_and_forgotten(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = make()
    asked: list[list[str]] = []
    encode = generator._encode

    def recorded(prompts: list[str]) -> Any:
        asked.append(prompts)
        return encode(prompts)

    monkeypatch.setattr(generator, "_encode", recorded)
    generator.generate(CONCEPTS, SEEDS)
    generator.generate(CONCEPTS, [9] * 5)
    assert [sorted(set(prompts)) for prompts in asked] == [
        ["a photo of cat", "a photo of dog", "a photo of red star"],
        ["a photo of blue ring"],
    ]
    monkeypatch.setattr("dnr_env.models.generator._TEXTS", 2)
    generator.generate(CONCEPTS, SEEDS)
    assert len(generator._texts) == 2


def test_templates(make: Maker) -> None:
    for template in ("a photo", "{} and {}", "a photo of {0}"):
        with pytest.raises(DnRError, match=r"^`generator.template` must contain one \{\}"):
            make(template=template)
    first = make(template="{x} of {}").generate(["{} {0} {seed!r}"], [0])
    assert (first != make(template="{x} of {}").generate(["{0}"], [0])).any()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"steps": 0}, "`generator.steps` must be at least 1 (got 0)"),
        ({"size": 100}, "`generator.size` must be a multiple of 8, such as 96 (got 100)"),
        ({"batch": 0}, "`generator.batch` must be at least 1 (got 0)"),
        ({"device": "tpu9"}, "`device` must be auto, cpu, or a device of this machine (got 'tpu9')"),
        ({"dtype": "float31"}, "`generator.dtype` must be one of float32, float16, bfloat16, … (got 'float31')"),
        ({"scheduler": "DDIMSchedular"}, "`generator.scheduler` must be one of DDIMScheduler, "),
        ({"scheduler": "AutoencoderKL"}, "`generator.scheduler` must be one of "),
        (
            {"tiny_vae": "no/such/folder"},
            "`generator.tiny_vae` must be a folder or a hub id such as organisation/name (got 'no/such/folder')",
        ),
    ],
)
def test_options_that_cannot_be_used(make: Maker, options: dict[str, Any], error: str) -> None:
    with pytest.raises(DnRError) as caught:
        make(**options)
    assert str(caught.value).startswith(error)


def test_the_fingerprint_names_what_an_image_depends_on(make: Maker, models: dict[str, Path], tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"model": "xl"}, {"template": "a drawing of {}"}, {"negative_prompt": "blurry"}, {"steps": 2},
        {"guidance": 2.0}, {"size": 64}, {"scheduler": "EulerDiscreteScheduler"}, {"dtype": "bfloat16"},
        {"tiny_vae": str(models["vae"])},
    ]  # fmt: skip
    plain = make().fingerprint
    assert len({plain, *(make(**change).fingerprint for change in changes)}) == 1 + len(changes)
    shutil.copytree(models["sd"], tmp_path / "moved")
    same = DiffusionGenerator(str(tmp_path / "moved"), size=32, batch=16, guidance=0, dtype="float32", compile=True)
    assert same.fingerprint == plain
    assert "_pipeline" not in vars(same)


def test_generators_of_one_model_share_its_memory(make: Maker) -> None:
    search, judge, other = make(), make(template="{} at night", steps=2, size=64), make(dtype="bfloat16")
    assert search._pipeline is judge._pipeline
    assert search._pipeline is not other._pipeline
    images = search.generate(["dog"], [0])
    assert judge.generate(["dog"], [0]).shape == (1, 64, 64, 3)
    np.testing.assert_array_equal(search.generate(["dog"], [0]), images)


def test_settings_change_the_images(make: Maker, models: dict[str, Path]) -> None:
    plain = make(steps=2).generate(["dog"], [0])
    scheduler = "EulerAncestralDiscreteScheduler"
    for change in ({"scheduler": scheduler}, {"tiny_vae": str(models["vae"])}, {"guidance": 6.0}):
        assert (make(steps=2, **change).generate(["dog"], [0]) != plain).any()


@pytest.mark.parametrize("value", [-1.0, 0.3, float("nan")], ids=["black", "constant", "NaN"])
def test_black_images_are_drawn_again(make: Maker, value: float) -> None:
    expected = make().generate(CONCEPTS, SEEDS)
    found = []
    for _ in range(2):
        generator = make()
        every(generator, lambda i: value if i == 2 else 1)
        images = generator.generate(CONCEPTS, SEEDS)
        assert generator.replaced == 1
        np.testing.assert_array_equal(images[[0, 1, 3, 4]], expected[[0, 1, 3, 4]])
        assert images[2].std() > 5
        assert (images[2] != expected[2]).any()
        found.append(images)
    np.testing.assert_array_equal(found[0], found[1])


def test_images_that_stay_black(make: Maker) -> None:
    generator = make(batch=1)
    drawn = every(generator, lambda i: -1.0)
    with pytest.raises(
        DnRError, match=r"^`generator.model` '.*' draws image 4 of 'a photo of dog' black .* set dtype to float32"
    ):
        generator.generate(["dog"], [4])
    assert len(drawn) == 4


def test_a_full_device_halves_the_batch(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make().generate(CONCEPTS, SEEDS)
    generator = make()
    sizes: list[int] = []
    forward = generator._pipeline.unet.forward

    def small_only(sample: Any, *rest: Any, limit: int = 2, **options: Any) -> Any:
        sizes.append(len(sample))
        if len(sample) > limit:
            raise torch.OutOfMemoryError("out of memory")
        return forward(sample, *rest, **options)

    monkeypatch.setattr(generator._pipeline.unet, "forward", small_only)
    np.testing.assert_allclose(generator.generate(CONCEPTS, SEEDS), expected.astype(float), atol=1)
    assert sizes == [4, 2, 2, 2]
    monkeypatch.setattr(generator._pipeline.unet, "forward", lambda *a, **k: small_only(*a, limit=0, **k))
    with pytest.raises(DnRError, match=r"^`generator.batch` is 1, and one item still does not fit"):
        generator.generate(["dog"], [0])


def test_long_prompts_are_named_once(make: Maker, recwarn: pytest.WarningsRecorder) -> None:
    generator = make(template="{}")
    long = "dog " * 25 + "xylem"  # one token per letter, of which 75 are read
    with pytest.warns(PromptCut, match="does not see 'xylem'") as caught:
        generator.generate([long, long, "dog"], [0, 1, 0])
    assert len(caught) == 1
    assert generator.cut == {long: "xylem"}
    generator.generate([long], [3])
    assert not recwarn.list


def test_no_socket_is_opened(make: Maker, no_sockets: list[object]) -> None:
    make().generate(["dog"], [0])
    with pytest.raises(DnRError, match=r"^`generator.model` 'nobody/nothing' is not in the hub's cache"):
        DiffusionGenerator("nobody/nothing", device="cpu")
    at_commit = DiffusionGenerator("nobody/nothing", revision="0" * 40, device="cpu")
    with pytest.raises(DnRError, match=r"^`generator.model` 'nobody/nothing' is not in the hub's cache"):
        at_commit.generate(["dog"], [0])
    assert not no_sockets


def test_folders_without_a_usable_model(make: Maker, models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DnRError, match=r"`generator.model` must be a folder or a hub id"):
        DiffusionGenerator(str(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DnRError, match=r"^`generator.model` .* cannot be loaded.*model_index.json"):
        DiffusionGenerator(str(tmp_path / "empty"), device="cpu").generate(["dog"], [0])
    for name, model in (("sd", "sd"), ("vae", "vae")):
        small_models.pickled(Path(shutil.copytree(models[model], tmp_path / name)))
    with pytest.raises(
        DnRError, match=r"^`generator.model` .*it has no safetensors, and other weight files can run code"
    ):
        DiffusionGenerator(str(tmp_path / "sd"), device="cpu").generate(["dog"], [0])
    with pytest.raises(DnRError, match=r"^`generator.tiny_vae` .*it has no safetensors"):
        make(tiny_vae=str(tmp_path / "vae")).generate(["dog"], [0])


def test_a_safety_checker_is_not_loaded(models: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models["sd"], tmp_path / "checked"))
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True}
    (folder / "model_index.json").write_text(json.dumps(index))  # the folder has no weights for it
    generator = DiffusionGenerator(str(folder), size=32, batch=1, device="cpu")
    assert generator.generate(["dog"], [0]).std() > 5
    assert generator._pipeline.safety_checker is None


def test_nothing_to_draw(make: Maker) -> None:
    assert make().generate([], []).shape == (0, 32, 32, 3)


@pytest.mark.slow
def test_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "generate.json"
    monkeypatch.setattr("sys.argv", ["generate.py", "--tiny", "--out", str(out)])
    generate.main()
    assert "| images/s |" in capsys.readouterr().out
    result = json.loads(out.read_text())
    assert {row["mode"] for row in result["speeds"]} == {"turbo, KL", "turbo, tiny VAE", "50 steps, KL"}
    assert all(row["images_per_s"] > 0 and row["ratio"] > 0 for row in result["speeds"])
    assert all(row["max_difference"] == 0 for row in result["permutation"])
