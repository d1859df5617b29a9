"""Label files as people have them: accepted forms, and one sentence for each fault."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnr_env.errors import DnRError
from dnr_env.evaluation.label_files import read_file
from dnr_env.evaluation.verdicts import read_sources
from dnr_env.neurons import Neurons
from dnr_env.stack import Stack

NEURONS = Neurons([*(f"layer3:{i}" for i in range(5)), *(f"layer4:{i}" for i in range(5))])


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


FORMS = {
    "own": "neuron,label\nlayer4:0,red star\nlayer4:3,blue ring\n",
    "layer and unit": "layer,unit,label\nlayer4,0,red star\nlayer4,3,blue ring\n",
    "MILAN": "layer,unit,description\nlayer4,0,red star\nlayer4,3,blue ring\n",
    "CLIP-Dissect": 'layer,unit,description,similarity\nlayer4,0,red star,0.93\nlayer4,3,"blue ring",1.02\n',
    "a table of DnR": "neuron,label,value,error\nlayer4:0,red star,0.5,0.1\nlayer4:3,blue ring,0.2,0.1\n",
    "a failed neuron": "neuron,label,failure\nlayer4:0,red star,\nlayer4:1,,no answer\nlayer4:3,blue ring,\n",
    "other order and case": " Label ,Notes,UNIT,layer\nred star,x,0,layer4\nblue ring,,3,layer4\n",
    "byte order mark": "\ufeffneuron,label\r\nlayer4:0,red star\r\nlayer4:3,blue ring\r\n",
}
WITHOUT_LAYER = {
    "INVERT": "neuron,concept,concept_id,metric\n0,red star,n02098413,0.9336\n3,blue ring,n02871525,0.97\n",
    "FALCON": (
        "group,Unnamed: 0,concept_set_words,concept_set_noun_phrases\n"
        "0,0,\"[('red', 0.1)]\",\"[('red star', 0.08), ('iron', 0.05)]\"\n"
        '3,3,"[(\'blue\', 0.1)]","[(""blue ring"", 0.06)]"\n'
    ),
    "a layer by another name": "layer,unit,description\n4,0,red star\n4,3,blue ring\n",
    "padded indices": "unit,label\n000,red star\n 03 ,blue ring\n",
}
EXPECTED = [("layer4:0", "red star"), ("layer4:3", "blue ring")]


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_name_the_layer(tmp_path: Path, form: str) -> None:
    assert read_file(written(tmp_path / "a.csv", FORMS[form]), NEURONS, None) == EXPECTED


@pytest.mark.parametrize("form", WITHOUT_LAYER)
def test_forms_that_need_the_layer(tmp_path: Path, form: str) -> None:
    path = written(tmp_path / "a.csv", WITHOUT_LAYER[form])
    assert read_file(path, NEURONS, "layer4") == EXPECTED
    with pytest.raises(
        DnRError, match=r"`layer` must say which layer the indices of a\.csv are in, one of layer3, lay"
    ):
        read_file(path, NEURONS, None)
    assert read_file(path, Neurons(["layer3:0", "layer3:3"]), "layer3")[1] == ("layer3:3", "blue ring")


def test_one_layer_needs_no_name_and_an_autoencoder_keeps_its_own(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", WITHOUT_LAYER["INVERT"])
    assert read_file(path, Neurons(["mlp.sae:0", "mlp.sae:3"]), None)[0][0] == "mlp.sae:0"
    assert read_file(path, Neurons(["mlp.sae:0", "mlp.sae:3"]), "mlp")[0][0] == "mlp.sae:0"
    with pytest.raises(DnRError, match=r"`layer` must be one of layer4, layer3 \(got 'layer5'\)"):
        read_file(path, NEURONS, "layer5")


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("layer3,0,star\nlayer4,0,ring\n", "layer3"),
        ("layer4,0,ring\nlayer3,0,star\n", "layer3"),
        ("3,0,star\n4,0,ring\n", "3, 4"),
        ("layer3,0,star\nlayer3,1,ring\n", "layer3"),
        (",0,star\nlayer3,0,star\n", "layer3"),
    ],
)
def test_labels_of_one_layer_are_not_taken_for_those_of_another(tmp_path: Path, rows: str, named: str) -> None:
    path = written(tmp_path / "a.csv", f"layer,unit,label\n{rows}")
    said = rf"`layer` must be the only layer of the indices of a\.csv \(got 'layer4', and {named} in the file\)"
    with pytest.raises(DnRError, match=said):
        read_file(path, NEURONS, "layer4")


def test_names_of_neurons_say_their_layer_themselves(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "layer,neuron,label\nlayer3,layer3:0,star\nlayer4,layer4:0,ring\n")
    assert read_file(path, NEURONS, "layer4") == [("layer3:0", "star"), ("layer4:0", "ring")]


FAULTS: list[tuple[str, str]] = [
    (
        "neuron,text\nlayer4:0,star\n",
        r"must have a column neuron or unit, and a column label or .*\(got neuron, text in",
    ),
    ("label\nstar\n", r"must have a column neuron or unit.*\(got label in"),
    ("layer4:0;star\n", r"\(got layer4:0;star in"),
    ("", r"\(got none in"),
    ("neuron,label\n", r"must hold at least one label \(got none\)"),
    ("neuron,label\nlayer4:0,star\nlayer9:0,star\n", r"row 2 of a\.csv: `neuron` must be one of .*\(got 'layer9:0'\)"),
    (
        "layer,unit,label\nlayer4,0,star\nlayer4,9999,star\n",
        r"row 2 of a\.csv: `neuron` must be one of .*\(got 'layer4:9999'\)",
    ),
    ("layer,unit,label\nlayer4,1.5,star\n", r"row 1 of a\.csv: `neuron` must be one of .*\(got '1\.5'\)"),
    ("layer,unit,label\nlayer4,-1,star\n", r"row 1 of a\.csv: `neuron` must be one of .*\(got '-1'\)"),
    ("neuron,label\n,star\n", r"row 1 of a\.csv: `neuron` must be one of .*\(got ''\)"),
    ("neuron,label\nlayer4:0,zork\n", r"row 1 of a\.csv \(layer4:0\): `concept` must contain"),
    ("neuron,label\nlayer4:1,star\nlayer4:0\n", r"row 2 of a\.csv \(layer4:0\): `concept` must contain"),
    ("unit,concept_set_noun_phrases\nlayer4:0,[]\n", r"row 1 of a\.csv \(layer4:0\): `concept` must contain"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_a_fault_is_one_sentence(stack: Stack, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DnRError, match=message) as caught:
        read_sources([written(tmp_path / "a.csv", text)], stack)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"neuron,label\nlayer4:0,\xff\xfe\n")
    for path in (tmp_path / "none.csv", tmp_path, tmp_path / "bytes.csv"):
        with pytest.raises(DnRError, match=re.escape(str(path))):
            read_sources(path, stack)


@given(st.text(max_size=300))
def test_any_text_is_labels_or_one_sentence(tmp_path_factory: Any, stack: Stack, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(f"neuron,label\n{text}".encode("utf-8", "surrogatepass"))
    said = ""
    try:
        read_sources(path, stack)
    except DnRError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


def test_files_to_compare(stack: Stack, tmp_path: Path) -> None:
    one = written(tmp_path / "one.csv", "neuron,label\nlayer4:0,star\nlayer4:1,ring\n")
    other = written(tmp_path / "other.csv", "neuron,label\nlayer4:1,circle\nlayer4:2,bar\n")
    twice = written(tmp_path / "twice.csv", "neuron,label\nlayer4:1,star\nlayer4:1,ring\nlayer4:1,star\n")
    apart = written(tmp_path / "apart.csv", "neuron,label\nlayer3:1,star\n")
    assert [source.name for source in read_sources([one, other], stack)] == ["one", "other"]
    assert len(read_sources(twice, stack)[0].labels) == 2  # alone, each is judged
    with pytest.raises(
        DnRError, match=r"one label per neuron .*\(got 1 neurons with several in twice, such as layer4:1"
    ):
        read_sources([one, twice], stack)
    with pytest.raises(DnRError, match=r"of the same neurons to be compared \(got one, apart, which share none\)"):
        read_sources([one, apart], stack)
    with pytest.raises(DnRError, match=r"must name each file once"):
        read_sources([one, one], stack)


def test_files_of_one_name_are_named_by_their_folders(stack: Stack, tmp_path: Path) -> None:
    for name in ("a", "b", "c/a"):
        (tmp_path / name).mkdir(parents=True)
        written(tmp_path / name / "labels.csv", "neuron,label\nlayer4:0,star\n")
    two = [tmp_path / "a" / "labels.csv", tmp_path / "b" / "labels.csv"]
    assert [source.name for source in read_sources(two, stack)] == ["a/labels", "b/labels"]
    three = [*two, tmp_path / "c" / "a" / "labels.csv"]
    assert [source.name for source in read_sources(three, stack)] == [str(path) for path in three]


def test_only_the_neurons_that_are_asked_for(stack: Stack, tmp_path: Path) -> None:
    """An explanation file has every unit of a layer, of which a few are judged."""
    path = written(tmp_path / "a.csv", "".join(["unit,description\n", *(f"{i},star\n" for i in range(2000))]))
    only = {"layer4:3", "layer4:5"}
    assert read_sources(path, stack, "layer4", only)[0].labels == [("layer4:3", "star"), ("layer4:5", "star")]
    with pytest.raises(DnRError, match=r"got none in 2,000 rows"):
        read_sources(path, stack, "layer4", {"layer3:1"})


def test_a_hundred_thousand_rows(stack: Stack, tmp_path: Path) -> None:
    concepts = stack.vocabulary.concepts[:1000]
    rows = [f"layer4,{i % 100},{concepts[i % 1000]}\n" for i in range(100_000)]
    (source,) = read_sources(written(tmp_path / "a.csv", "layer,unit,label\n" + "".join(rows)), stack)
    assert len(source.labels) == 1000  # repeated rows are judged once
    rows[99_998] = "layer4,128,star\n"
    with pytest.raises(DnRError, match=r"row 99999 of a\.csv: `neuron` must be one of"):
        read_sources(written(tmp_path / "a.csv", "layer,unit,label\n" + "".join(rows)), stack)
