"""Stacks by name: settings of the embedded worlds, paths, and which texts give the same stack."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import dnr_env
from dnr_env.errors import DnRError
from dnr_env.registry import EMBEDDED, SHIPPED, load, read_spec, words_of
from dnr_env.scenes import config as scenes
from dnr_env.scenes.config import ScenesConfig
from dnr_env.shapes.config import PRESETS, ShapesConfig, name_of
from dnr_env.stack import Stack

# --- settings of embedded worlds -----------------------------------------------------------------


def content(stack: Stack) -> tuple[object, ...]:
    """What results of a stack depend on, and what is known of its neurons."""
    known = stack.known
    optima = [dict(known.optimum(score)) for score in ("grounded_k", "log_k")]
    return stack.fingerprints(), stack.neurons, [known.truth(name) for name in stack.neurons], optima


@pytest.mark.parametrize(
    ("spec", "preset"),
    [
        ("shapes infidelity=0.2", "shapes-unfaithful"),
        ("shapes infidelity=2e-1", "shapes-unfaithful"),
        ("shapes-unfaithful infidelity=0", "shapes"),
        ("shapes infidelity=0.9 infidelity=0.2", "shapes-unfaithful"),
        ("shapes width=12", "shapes-transfer"),
        ("shapes neurons=fresh", "shapes-fresh"),
        ("shapes neurons=directions", "shapes-directions"),
        ("shapes paired=False", "shapes-unpaired"),
        ("shapes-unpaired paired=true", "shapes"),
        ("shapes withheld=true", "shapes-withheld"),
    ],
)
def test_settings_give_the_configuration_of_a_preset(spec: str, preset: str) -> None:
    assert read_spec(spec) == (preset, PRESETS[preset])
    assert load(spec) is load(preset)


def test_settings_give_the_content_of_the_preset(stack: Stack) -> None:
    made, preset = load("shapes infidelity=0.2"), load("shapes-unfaithful")
    assert content(made) == content(preset)
    assert made.known.optimum("log_k")
    ours, theirs = made.fingerprints(), stack.fingerprints()
    assert {part for part in ours if ours[part] != theirs[part]} == {"generator", "judge", "calibration"}
    assert made.known.optimum("log_k") != stack.known.optimum("log_k")


def test_a_variant_without_a_preset_has_no_optimum_but_its_formulas() -> None:
    stack = load("shapes infidelity=0.35 width=12")
    assert stack.name == "shapes width=12 infidelity=0.35"
    assert stack.known.optimum("grounded_k") == {}
    assert stack.known.truth("planted:0") == "red"
    seeds = np.arange(4)[None]
    faithful = load("shapes width=12").lab.measure(concepts=["red star"], seeds=seeds)
    assert not np.array_equal(stack.lab.measure(concepts=["red star"], seeds=seeds).activations, faithful.activations)


def test_every_digit_of_the_infidelity_counts() -> None:
    """Or the drawings of one world would be taken for those of another."""
    values = ["0", "0.2", "0.20000001", "0.1999999", "1"]
    prints = [load(f"shapes infidelity={value}").lab.generator.fingerprint for value in values]
    assert len(set(prints)) == len(values)
    assert prints[:2] == [f"shapes-renderer-2 infidelity={value}" for value in values[:2]]  # keys of measured images


@pytest.mark.parametrize("name", PRESETS)
def test_a_variant_has_one_name_and_the_name_gives_the_variant(name: str) -> None:
    assert name_of(PRESETS[name]) == name
    other = ShapesConfig("fresh", 12, 0.125, paired=False, withheld=True)
    assert read_spec(name_of(other)) == (name_of(other), other)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("infidelty=0.2", r"^a setting of shapes must be one of infidelity, … \(got 'infidelty'\)$"),
        ("Width=12", r"^a setting of shapes must be one of .*width.* \(got 'Width'\)$"),
        ("generator.size=8", r"^a setting of shapes must be one of .* \(got 'generator.size'\)$"),
        ("infidelity", r"^`stack` settings must have the form infidelity=0\.2 \(got 'infidelity'\)$"),
        ("infidelity = 0.2", r"^`stack` settings must have the form infidelity=0\.2 \(got 'infidelity'\)$"),
        *(
            (f"infidelity={value}", rf"^`infidelity` must be a number from 0 to 1 \(got '{value}'\)$")
            for value in ("", "1.01", "-0.1", "nan", "inf", "half", "20%")
        ),
        ("width=14", r"^`width` must be one of 16, 12 \(got '14'\)$"),
        ("neurons=layer4", r"^`neurons` must be one of network, directions, fresh \(got 'layer4'\)$"),
        ("paired=1", r"^`paired` must be one of true, false \(got '1'\)$"),
        ("infidelity=0.2 withheld=", r"^`withheld` must be one of true, false \(got ''\)$"),
    ],
)
def test_settings_that_are_not_accepted(settings: str, says: str) -> None:
    with pytest.raises(DnRError, match=says):
        load(f"shapes {settings}")


# --- texts and paths -----------------------------------------------------------------------------


def test_the_same_settings_in_other_words_are_the_same_stack() -> None:
    texts = [
        "shapes infidelity=0.3 paired=false",
        "  shapes   paired=False\tinfidelity=.3 ",
        "'shapes' 'infidelity=0.3' paired=false",
    ]
    (stack,) = {load(text) for text in texts}
    assert stack.name == texts[0]
    assert {read_spec(text) for text in texts} == {(texts[0], ShapesConfig(infidelity=0.3, paired=False))}


def test_a_pickled_stack_is_the_stack_of_the_process(stack: Stack) -> None:
    for one in (stack, load("shapes infidelity=0.45 width=12"), load("shapes-fresh")):
        assert pickle.loads(pickle.dumps(one)) is one


def test_a_name_may_be_a_path_object(stack: Stack) -> None:
    assert dnr_env.load_stack(Path("shapes")) is stack


@pytest.mark.parametrize("spec", [None, 3, b"shapes", ["shapes"]])
def test_what_is_no_text_is_no_stack(spec: object) -> None:
    with pytest.raises(DnRError, match=r"^`stack` must be a name such as 'shapes' or the path of a YAML file \(got "):
        load(spec)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", ["", "  ", "shape", "shapes-unfaithfull infidelity=0", "tubro"])
def test_names_that_do_not_exist(spec: str) -> None:
    with pytest.raises(DnRError, match=r"^`stack` must be one of .*(shapes|turbo).* \(got ") as error:
        load(spec)
    assert "\n" not in str(error.value)


def test_a_quote_that_is_left_open_is_one_sentence() -> None:
    with pytest.raises(DnRError, match=r"^`stack` must be a name and then settings .* \(got .*No closing quotation\)$"):
        load("shapes 'infidelity=0.2")


def test_words_keep_their_backslashes_and_their_quoted_spaces() -> None:
    spec = r"C:\new\stack.yaml target.weights='D:\my nets\a.pt' probe.images=\\host\share#1"
    assert words_of(spec) == [
        r"C:\new\stack.yaml", r"target.weights=D:\my nets\a.pt", r"probe.images=\\host\share#1",
    ]  # fmt: skip


def test_embedded_and_shipped_names_do_not_meet() -> None:
    assert set(EMBEDDED) == {*PRESETS, *scenes.PRESETS}
    assert len(set(EMBEDDED)) == len(EMBEDDED)
    assert not set(EMBEDDED) & set(SHIPPED)
    assert {"turbo", "sd15"} <= set(SHIPPED)


# --- YAML files ----------------------------------------------------------------------------------

BARE = """
target: {network: "torchvision:resnet18", weights: none, layers: layer3}
probe: {images: photos}
captioner: null
writer: null
generator: null
judge: null
embedder: null
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the configuration of a target and images, and another as the working directory."""
    for package in ("yaml", "pydantic", "torchvision", "transformers", "diffusers", "open_clip", "openai"):
        pytest.importorskip(package)
    (tmp_path / "stacks" / "photos").mkdir(parents=True)
    (tmp_path / "stacks" / "stack.yaml").write_text(BARE)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "stacks"


def images_of(spec: str | Path) -> str | None:
    config = read_spec(spec)[1]
    assert not isinstance(config, ShapesConfig | ScenesConfig)
    return config.probe.images


def test_a_path_object_and_its_text_are_one_stack(folder: Path) -> None:
    path = folder / "stack.yaml"
    stack = load(path)
    assert stack is load(str(path)) is load(f"  {path} ")
    assert load(f"{path} target.layers=layer2") is load(f"{path}   'target.layers=layer2'") is not stack
    assert pickle.loads(pickle.dumps(stack)) is stack
    assert stack.missing == {"captioner", "writer", "generator", "judge", "embedder"}


def test_a_path_may_have_spaces_and_quotes(folder: Path) -> None:
    for name in ("my stack.yaml", "it's mine.yaml", 'a "b".yaml'):
        path = (folder / "stack.yaml").rename(folder / name)
        stack = load(path)
        assert images_of(path) == str(folder / "photos")
        assert load(stack.name) is stack
        path.rename(folder / "stack.yaml")


def test_a_backslash_in_a_file_name_stays(folder: Path) -> None:
    (folder / r"own\new.yaml").write_text(BARE.replace("layer3", "layer1"))
    config = read_spec(rf"{folder}/own\new.yaml probe.images=D:\photos\new")[1]
    assert not isinstance(config, ShapesConfig | ScenesConfig)
    assert config.target.layers == ("layer1",)
    assert config.probe.images == r"D:\photos\new"


def test_a_tilde_is_the_home_folder(folder: Path) -> None:
    (folder / "others").mkdir()
    assert images_of("~/stacks/stack.yaml") == str(folder / "photos")
    assert images_of(Path("~/stacks/stack.yaml")) == str(folder / "photos")
    assert images_of("~/stacks/stack.yaml probe.images=~/stacks/others") == str(folder / "others")
    (folder / "stack.yaml").write_text(BARE.replace("photos", "~/stacks/others"))
    assert images_of("~/stacks/stack.yaml") == str(folder / "others")


def test_paths_are_of_the_file_and_those_of_settings_of_the_working_directory(folder: Path) -> None:
    (folder.parent / "here" / "photos").mkdir()
    assert images_of(folder / "stack.yaml") == str(folder / "photos")
    assert images_of(f"{folder}/stack.yaml probe.images=photos") == str(folder.parent / "here" / "photos")


def test_a_file_that_has_changed_is_another_stack(folder: Path) -> None:
    path = folder / "stack.yaml"
    before = load(path)
    path.write_text(BARE.replace("layer3", "layer4"))
    assert load(path) is not before
    path.write_text(BARE)
    assert load(path) is before


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(DnRError, match=r"^`stack` must be one of .* \(got 'missing\.yaml'\)$"):
        load("missing.yaml")
