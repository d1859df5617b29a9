from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_saes import (
    Arrays,
    saelens_arrays,
    saelens_features,
    saelens_settings,
    sparsify_arrays,
    sparsify_features,
    sparsify_settings,
    write_sae,
)

from dnr_env.errors import DnRError
from dnr_env.models import sae_keys
from dnr_env.models.sae_file import load_autoencoder
from dnr_env.types import FloatArray

INPUTS, FEATURES = 12, 40
RNG = np.random.default_rng(7)
X = RNG.normal(size=(64, INPUTS)).astype(np.float32) * 2 + 0.5
ARRAYS = saelens_arrays(INPUTS, FEATURES)
WITH_THRESHOLD = {**ARRAYS, "threshold": RNG.uniform(0, 3, FEATURES).astype(np.float32)}
GATED = {
    "W_enc": ARRAYS["W_enc"],
    "W_dec": ARRAYS["W_dec"],
    "b_dec": ARRAYS["b_dec"],
    **{name: RNG.normal(size=FEATURES).astype(np.float32) for name in ("b_gate", "b_mag", "r_mag")},
}
SPARSIFY = sparsify_arrays(INPUTS, FEATURES)


def features_of(path: Path, x: FloatArray = X) -> FloatArray:
    sae = load_autoencoder(path)
    assert (sae.inputs, sae.features) == (INPUTS, FEATURES)
    made: FloatArray = sae.encode(torch.tensor(x), torch.arange(FEATURES)).numpy()
    return made


def agree(found: FloatArray, expected: FloatArray) -> None:
    np.testing.assert_array_equal(found != 0, expected != 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def config(architecture: str, **more: object) -> dict[str, Any]:
    return saelens_settings(architecture, INPUTS, FEATURES, **more)


@pytest.mark.parametrize("apply", [True, False])
@pytest.mark.parametrize("norm", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize(
    ("settings", "arrays"),
    [
        ({"architecture": "standard"}, ARRAYS),
        ({"architecture": "jumprelu"}, WITH_THRESHOLD),
        ({"architecture": "gated"}, GATED),
        ({"architecture": "topk", "k": 5, "rescale_acts_by_decoder_norm": False}, ARRAYS),
        ({"architecture": "topk", "k": 5, "rescale_acts_by_decoder_norm": True}, ARRAYS),
        ({"architecture": "topk", "k": FEATURES}, ARRAYS),
        ({"architecture": "abstopk", "k": 3}, ARRAYS),
        ({"architecture": "batchtopk", "k": 2.5}, {**ARRAYS, "topk_threshold": np.float64(1.5)}),
        (
            {"architecture": "batchtopk", "k": 2.5, "rescale_acts_by_decoder_norm": True},
            {**ARRAYS, "topk_threshold": np.float64(4.5)},
        ),
    ],
)
def test_features_of_saelens(tmp_path: Path, settings: dict[str, Any], arrays: Arrays, norm: str, apply: bool) -> None:
    cfg = {**config(**settings), "normalize_activations": norm, "apply_b_dec_to_input": apply}
    expected = saelens_features(cfg, arrays, X)
    assert 0 < (expected != 0).mean() < 1
    agree(features_of(write_sae(tmp_path, cfg, arrays)), expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"k": 4},
        {"k": 1, "num_latents": FEATURES},
        {"k": 8, "activation": "groupmax"},
        {"k": 4, "skip_connection": True, "multi_topk": True, "normalize_decoder": False},
        {"k": 6, "signed": True},
    ],
)
def test_features_of_sparsify(tmp_path: Path, settings: dict[str, Any]) -> None:
    cfg = sparsify_settings(INPUTS, **settings)
    skip = {"W_skip": np.ones((INPUTS, INPUTS), np.float32)} if cfg["skip_connection"] else {}
    agree(features_of(write_sae(tmp_path, cfg, {**SPARSIFY, **skip})), sparsify_features(cfg, SPARSIFY, X))


def test_the_first_sae_of_eleuther(tmp_path: Path) -> None:
    cfg = {"expansion_factor": 32, "normalize_decoder": True, "num_latents": FEATURES, "k": 4, "signed": False}
    path = write_sae(tmp_path, {**cfg, "d_in": INPUTS}, SPARSIFY)
    agree(features_of(path), sparsify_features(cfg, SPARSIFY, X))


OLD = {
    "d_in": INPUTS, "d_sae": FEATURES, "dtype": "torch.float32", "device": "cuda", "model_name": "vit", "hook_layer": 3,
    "hook_name": "blocks.3.hook_mlp_out", "hook_head_index": None, "apply_b_dec_to_input": True,
    "finetuning_scaling_factor": False, "sae_lens_training_version": "5.11.0", "prepend_bos": True, "dataset_path": "x",
    "dataset_trust_remote_code": True, "context_size": 50, "normalize_activations": "none", "neuronpedia_id": None,
    "model_from_pretrained_kwargs": {}, "seqpos_slice": [None], "activation_fn_kwargs": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "same_as", "arrays"),
    [
        ({"architecture": "standard", "activation_fn_str": "relu"}, config("standard"), ARRAYS),
        ({"activation_fn": "relu", "hook_point": "blocks.3.hook_mlp_out"}, config("standard"), ARRAYS),
        ({"architecture": "jumprelu", "activation_fn_str": "relu"}, config("jumprelu"), WITH_THRESHOLD),
        ({"architecture": "gated", "activation_fn_str": "relu"}, config("gated"), GATED),
        (
            {"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 7}},
            config("topk", k=7),
            ARRAYS,
        ),
        (
            {"architecture": "topk", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 7}},
            config("topk", k=7),
            ARRAYS,
        ),
        (
            {"architecture": "standard", "activation_fn_str": "relu", "normalize_activations": False},
            config("standard"),
            {**ARRAYS, "scaling_factor": np.full(FEATURES, 2, np.float32)},
        ),
    ],
)
def test_files_of_saelens_before_version_6(
    tmp_path: Path, changed: dict[str, Any], same_as: dict[str, Any], arrays: Arrays
) -> None:
    agree(features_of(write_sae(tmp_path, {**OLD, **changed}, arrays)), saelens_features(same_as, arrays, X))


def test_thresholds_of_training_checkpoints(tmp_path: Path) -> None:
    logs = {**ARRAYS, "log_threshold": np.log(WITH_THRESHOLD["threshold"])}
    cfg = config("jumprelu", jumprelu_bandwidth=0.05, jumprelu_init_threshold=0.01, l0_coefficient=1.0)
    agree(features_of(write_sae(tmp_path, cfg, logs)), saelens_features(cfg, WITH_THRESHOLD, X))


def test_number_formats_are_read_as_float32(tmp_path: Path) -> None:
    halves = {name: array.astype(np.float16) for name, array in ARRAYS.items()}
    agree(
        features_of(write_sae(tmp_path, config("topk", k=4, dtype="float16"), halves)),
        saelens_features(config("topk", k=4), halves, X),
    )


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated", "topk", "abstopk"])
def test_one_feature_alone_is_the_same(tmp_path: Path, architecture: str) -> None:
    arrays = GATED if architecture == "gated" else WITH_THRESHOLD if architecture == "jumprelu" else ARRAYS
    more = {"k": 4} if architecture.endswith("topk") else {}
    sae = load_autoencoder(write_sae(tmp_path, config(architecture, **more), arrays))
    x = torch.tensor(X).reshape(4, 4, 4, INPUTS)
    whole = sae.encode(x, torch.arange(FEATURES))
    for feature in (0, 17, FEATURES - 1):
        alone = sae.encode(x, torch.tensor([feature]))
        np.testing.assert_allclose(alone[..., 0], whole[..., feature], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["standard", "jumprelu", "gated", "topk", "abstopk"])
def test_nan_stays_nan_at_its_position(tmp_path: Path, architecture: str) -> None:
    arrays = GATED if architecture == "gated" else WITH_THRESHOLD if architecture == "jumprelu" else ARRAYS
    more = {"k": 4} if architecture.endswith("topk") else {}
    broken = X.copy()
    broken[3, 2] = np.nan
    found = features_of(write_sae(tmp_path, config(architecture, **more), arrays), broken)
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


@given(k=st.integers(1, FEATURES), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_any_k_keeps_at_most_k_and_they_are_the_largest(
    tmp_path_factory: pytest.TempPathFactory, k: int, seed: int
) -> None:
    path = write_sae(tmp_path_factory.mktemp("sae"), config("topk", k=k), saelens_arrays(INPUTS, FEATURES, seed))
    relu = write_sae(tmp_path_factory.mktemp("sae"), config("standard"), saelens_arrays(INPUTS, FEATURES, seed))
    kept, every = features_of(path), features_of(relu)
    assert ((kept != 0).sum(-1) == np.minimum((every != 0).sum(-1), k)).all()
    np.testing.assert_array_equal(np.sort(kept, axis=-1)[:, -k:], np.sort(every, axis=-1)[:, -k:])


def fill(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, value in module.named_parameters():
        drawn = torch.randn(value.shape, generator=generator)
        value.data = drawn.abs() if name == "threshold" else drawn


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize(
    ("architecture", "more"),
    [
        ("standard", {}),
        ("jumprelu", {}),
        ("gated", {}),
        ("topk", {"k": 5}),
        ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
        ("abstopk", {"k": 5}),
        ("batchtopk", {"k": 2.5}),
        ("matryoshka_batchtopk", {"k": 2.5, "matryoshka_widths": [8, FEATURES]}),
    ],
)
def test_the_same_as_saelens_itself(tmp_path: Path, architecture: str, more: dict[str, Any], norm: str) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    registry = pytest.importorskip("sae_lens.registry")
    get = registry.get_sae_training_class if "batch" in architecture else registry.get_sae_class
    kind, settings = get(architecture)
    net = kind(settings(d_in=INPUTS, d_sae=FEATURES, normalize_activations=norm, **more))
    fill(net)
    net.save_model(tmp_path / "checkpoint")
    save = net.save_inference_model if "batch" in architecture else net.save_model
    save(tmp_path / "final")
    with torch.no_grad():
        expected = sae_lens.SAE.load_from_disk(tmp_path / "final").encode(torch.tensor(X)).numpy()
    for folder in ("checkpoint", "final"):
        agree(features_of(tmp_path / folder / "sae_weights.safetensors"), expected)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("settings", [{"k": 5}, {"k": 8, "activation": "groupmax"}, {"k": 5, "skip_connection": True}])
def test_the_same_as_sparsify_itself(tmp_path: Path, settings: dict[str, Any]) -> None:
    sparsify = pytest.importorskip("sparsify")
    net = sparsify.SparseCoder(INPUTS, sparsify.SparseCoderConfig(num_latents=FEATURES, **settings))
    fill(net)
    net.save_to_disk(tmp_path)
    with torch.no_grad():
        values, indices, _ = net.encode(torch.tensor(X))
    expected = torch.zeros(len(X), FEATURES).scatter(1, indices, values).numpy()
    agree(features_of(tmp_path / "sae.safetensors"), expected)


def refused(path: Path, *words: str) -> None:
    with pytest.raises(DnRError) as caught:
        load_autoencoder(path)
    message = str(caught.value)
    assert message.startswith("`target.sae` must ")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "key", ["batch_topk", "input_unit_norm", "sae_type", "gram_lookup", "l1_coef", "architecture", "threshold", "K"]
)
@pytest.mark.parametrize("value", [False, True, None, 0, "none"])
def test_unknown_settings_of_sparsify_are_refused_whatever_their_value(tmp_path: Path, key: str, value: object) -> None:
    refused(write_sae(tmp_path, {**sparsify_settings(INPUTS, k=4), key: value}, SPARSIFY), "of sparsify only", key)


@pytest.mark.parametrize("key", ["kval_topk", "post_scale", "activation", "residual_threshold", "transcode", "n_heads"])
def test_unknown_settings_of_saelens_are_refused(tmp_path: Path, key: str) -> None:
    refused(write_sae(tmp_path, config("standard", **{key: None}), ARRAYS), "of SAELens only", key)


@given(
    key=st.text(min_size=1, max_size=20).filter(
        lambda key: (
            key not in sae_keys.SAELENS_READ | sae_keys.SAELENS_TRAINING
            and key not in {known for _, keys, _ in sae_keys.OTHERS.values() for known in keys}
        )
    ),
    value=st.none() | st.booleans() | st.integers() | st.text(max_size=5),
)
@settings(max_examples=30, deadline=None)
def test_any_unknown_key_is_refused(tmp_path_factory: pytest.TempPathFactory, key: str, value: object) -> None:
    path = write_sae(tmp_path_factory.mktemp("sae"), {**config("standard"), key: value}, ARRAYS)
    with pytest.raises(DnRError, match="have settings of SAELens only"):
        load_autoencoder(path)


@pytest.mark.parametrize(
    ("changed", "arrays", "words"),
    [
        ({"architecture": "transcoder", "d_out": 4}, ARRAYS, ("d_out",)),
        ({"architecture": "transcoder"}, ARRAYS, ("transcoder", "would need the input of a module")),
        ({"architecture": "jumprelu_skip_transcoder"}, ARRAYS, ("would need the input of a module",)),
        ({"architecture": "temporal"}, ARRAYS, ("temporal", "attention over the positions")),
        ({"architecture": "matching_pursuit"}, ARRAYS, ("matching_pursuit", "a search")),
        ({"architecture": "nested"}, ARRAYS, ("one `architecture` of standard, topk", "'nested'")),
        ({"architecture": None}, ARRAYS, ("one `architecture`", "None")),
        ({"normalize_activations": "expected_average_only_in"}, ARRAYS, ("fold_activation_norm_scaling_factor",)),
        ({"normalize_activations": True}, ARRAYS, ("True", "fold_activation_norm_scaling_factor")),
        ({"normalize_activations": "covariance_whitening"}, ARRAYS, ("fold_activation_whitening",)),
        ({"normalize_activations": "rms"}, ARRAYS, ("'rms'", "code of its own")),
        ({"reshape_activations": "hook_z"}, ARRAYS, ("no `reshape_activations`", "attention heads")),
        ({"metadata": {"hook_head_index": 3}}, ARRAYS, ("no `hook_head_index`", "3")),
        ({"hook_point_head_index": 0}, ARRAYS, ("no `hook_point_head_index`",)),
        ({"apply_b_dec_to_input": None}, ARRAYS, ("`apply_b_dec_to_input` true or false",)),
        ({"apply_b_dec_to_input": "no"}, ARRAYS, ("`apply_b_dec_to_input` true or false", "'no'")),
        ({"architecture": "topk"}, ARRAYS, (f"a whole `k` from 1 to {FEATURES}", "None")),
        ({"architecture": "topk", "k": 0}, ARRAYS, ("a whole `k`", "0")),
        ({"architecture": "topk", "k": FEATURES + 1}, ARRAYS, ("a whole `k`", str(FEATURES + 1))),
        ({"architecture": "topk", "k": 2.5}, ARRAYS, ("a whole `k`", "2.5")),
        ({"architecture": "abstopk", "k": True}, ARRAYS, ("a whole `k`", "True")),
        ({"k": 32}, ARRAYS, ("no `k` with the architecture standard",)),
        ({"architecture": "jumprelu", "k": 32}, WITH_THRESHOLD, ("no `k` with the architecture jumprelu",)),
        ({"rescale_acts_by_decoder_norm": True}, ARRAYS, ("no `rescale_acts_by_decoder_norm`",)),
        ({"activation_fn": "tanh-relu"}, ARRAYS, ("the activation function relu, or topk", "tanh-relu")),
        (
            {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3, "postact_fn": "tanh"}},
            ARRAYS,
            ("postact_fn",),
        ),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {}}, ARRAYS, ("a whole `k`",)),
        ({"architecture": "gated", "activation_fn_str": "topk"}, GATED, ("'topk' with {} in gated",)),
        ({"architecture": "topk", "k": 3, "activation_fn_str": "relu"}, ARRAYS, ("'relu' with {} in topk",)),
        ({"activation_fn": "relu", "activation_fn_str": "topk"}, ARRAYS, ("activation function",)),
        ({}, WITH_THRESHOLD, ("hold W_enc, b_enc and nothing unknown", "threshold")),
        ({"architecture": "jumprelu"}, ARRAYS, ("hold W_enc, b_enc, threshold",)),
        ({"architecture": "gated"}, ARRAYS, ("hold W_enc, b_gate, b_mag, r_mag",)),
        ({}, {**ARRAYS, "W_skip": ARRAYS["W_dec"]}, ("nothing unknown", "W_skip")),
        ({}, {**ARRAYS, "input_mean": ARRAYS["b_dec"]}, ("nothing unknown", "input_mean")),
        ({}, {**ARRAYS, "b_enc": ARRAYS["b_dec"]}, ("shapes match", f"'b_enc': ({INPUTS},)")),
        ({}, {**ARRAYS, "b_dec": ARRAYS["b_enc"]}, ("shapes match", f"'b_dec': ({FEATURES},)")),
        ({}, {**ARRAYS, "W_enc": ARRAYS["b_enc"]}, ("W_enc with two axes",)),
        ({}, {**ARRAYS, "W_enc": ARRAYS["W_enc"].astype(np.int8)}, ("floating-point numbers", "int8")),
        ({"d_sae": 8}, ARRAYS, (f"the `d_sae` {FEATURES} of its tensors", "8")),
        ({"d_in": 768}, ARRAYS, (f"the `d_in` {INPUTS} of its tensors", "768")),
    ],
)
def test_what_saelens_means_and_is_not_computed_here_is_refused(
    tmp_path: Path, changed: dict[str, Any], arrays: Arrays, words: tuple[str, ...]
) -> None:
    refused(write_sae(tmp_path, {**config("standard"), **changed}, arrays), *words)


def test_heads_of_files_before_version_6(tmp_path: Path) -> None:
    cfg = {**OLD, "architecture": "standard", "activation_fn_str": "relu", "hook_name": "blocks.3.attn.hook_z"}
    refused(write_sae(tmp_path, cfg, ARRAYS), "no `reshape_activations`", "'hook_z'")


@pytest.mark.parametrize(
    ("changed", "arrays", "words"),
    [
        ({"transcode": True}, SPARSIFY, ("`transcode` false", "the input of a module")),
        ({"activation": "batchtopk"}, SPARSIFY, ("`activation` topk or groupmax", "'batchtopk'")),
        ({"activation": "groupmax", "signed": True}, SPARSIFY, ("`activation` topk or groupmax",)),
        ({"activation": "groupmax", "k": 7}, SPARSIFY, (f"a `k` that divides its {FEATURES} features", "7")),
        ({"k": FEATURES + 1}, SPARSIFY, ("a whole `k`",)),
        ({"k": "4"}, SPARSIFY, ("a whole `k`", "'4'")),
        ({"num_latents": 41}, SPARSIFY, ("`num_latents` 40", "41")),
        ({"d_in": 0}, SPARSIFY, ("`d_in` 12", "0")),
        ({}, {**SPARSIFY, "threshold": ARRAYS["b_enc"]}, ("nothing unknown", "threshold")),
        ({}, {name: array for name, array in SPARSIFY.items() if name != "b_dec"}, ("hold b_dec, encoder.bias",)),
    ],
)
def test_what_sparsify_means_and_is_not_computed_here_is_refused(
    tmp_path: Path, changed: dict[str, Any], arrays: Arrays, words: tuple[str, ...]
) -> None:
    refused(write_sae(tmp_path, sparsify_settings(INPUTS, **{"k": 4, **changed}), arrays), *words)


LINEAR = {"encoder.weight": SPARSIFY["encoder.weight"], "encoder.bias": SPARSIFY["encoder.bias"]}


@pytest.mark.parametrize(
    ("library", "arrays", "settings"),
    [
        ("dictionary_learning", {**LINEAR, "decoder.weight": ARRAYS["W_enc"], "bias": ARRAYS["b_dec"]}, None),
        ("dictionary_learning", {**LINEAR, "b_dec": ARRAYS["b_dec"], "k": np.int32(4)}, sparsify_settings(INPUTS)),
        ("dictionary_learning", {**ARRAYS, "group_sizes": np.array([8, 32])}, config("standard")),
        ("dictionary_learning", LINEAR, {"trainer": {"dict_class": "AutoEncoderTopK"}, "buffer": {}}),
        ("overcomplete", {"encoder.final_block.0.weight": SPARSIFY["encoder.weight"]}, None),
        ("overcomplete", {"dictionary._weights": ARRAYS["W_dec"]}, None),
        ("Prisma", ARRAYS, {**OLD, "activation_fn_str": "relu", "layer_subtype": "hook_resid_post"}),
        ("Prisma", ARRAYS, {**config("standard"), "cls_token_only": False}),
    ],
)
def test_other_libraries_are_refused_by_name(
    tmp_path: Path, library: str, arrays: Arrays, settings: dict[str, Any] | None
) -> None:
    refused(write_sae(tmp_path, settings, arrays), "be of SAELens or sparsify", f"is of {library}, which would need")


def test_the_settings_of_other_libraries_have_another_name(tmp_path: Path) -> None:
    path = write_sae(tmp_path, None, ARRAYS)
    (tmp_path / "config.json").write_text(json.dumps({"use_patches_only": True}))
    refused(path, "is of Prisma")


@pytest.mark.parametrize("arrays", [ARRAYS, WITH_THRESHOLD, SPARSIFY, LINEAR, GATED])
def test_tensors_alone_are_not_enough(tmp_path: Path, arrays: Arrays) -> None:
    refused(write_sae(tmp_path, None, arrays), "have a cfg.json beside it", "write one such as {")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ae.pt", b"", "must be a safetensors file of SAELens or sparsify"),
        ("none.safetensors", None, "which is not a file"),
        ("bad.safetensors", b"no tensors", "cannot be loaded"),
    ],
)
def test_what_is_no_file_of_tensors(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DnRError, match=f"^`target.sae` .*{re.escape(words)}"):
        load_autoencoder(tmp_path / name)


@pytest.mark.parametrize("text", ["[]", "{", '{"architecture": ["topk"]}', '{"architecture": "topk", "metadata": 3}'])
def test_settings_that_are_no_settings(tmp_path: Path, text: str) -> None:
    path = write_sae(tmp_path, {}, ARRAYS)
    (tmp_path / "cfg.json").write_text(text)
    with pytest.raises(DnRError, match=r"^`target.sae` "):
        load_autoencoder(path)


def test_the_digest_names_every_change_of_meaning(tmp_path: Path) -> None:
    variants = [
        config("standard"),
        config("standard", apply_b_dec_to_input=False),
        config("standard", normalize_activations="layer_norm"),
        config("topk", k=3),
        config("topk", k=4),
        config("topk", k=4, rescale_acts_by_decoder_norm=True),
        config("abstopk", k=4),
    ]
    digests = [load_autoencoder(write_sae(tmp_path, cfg, ARRAYS)).digest for cfg in variants]
    assert len(set(digests)) == len(digests)
    elsewhere = config("standard", device="cuda", metadata={"hook_name": "x"}, l1_coefficient=3)
    assert load_autoencoder(write_sae(tmp_path / "moved", elsewhere, ARRAYS)).digest == digests[0]
