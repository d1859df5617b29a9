"""Files of sparse autoencoders as SAELens and sparsify save them, and the features that their own code computes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from dnr_env.types import FloatArray

Arrays = dict[str, FloatArray]


def write_sae(folder: Path, settings: Mapping[str, Any] | None, arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Save the tensors, and the settings beside them unless they are None."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sae.safetensors"
    save_file({name: torch.tensor(array) for name, array in arrays.items()}, path)
    if settings is not None:
        (folder / "cfg.json").write_text(json.dumps(settings), encoding="utf-8")
    return path


def saelens_arrays(inputs: int, features: int, seed: int = 0) -> Arrays:
    """Random tensors of SAELens's architecture standard."""
    rng = np.random.default_rng(seed)
    shapes = {"W_enc": (inputs, features), "b_enc": (features,), "W_dec": (features, inputs), "b_dec": (inputs,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def sparsify_arrays(inputs: int, features: int, seed: int = 0) -> Arrays:
    """Random tensors of sparsify."""
    made = saelens_arrays(inputs, features, seed)
    return {
        "encoder.weight": np.ascontiguousarray(made["W_enc"].T),
        "encoder.bias": made["b_enc"],
        "W_dec": made["W_dec"],
        "b_dec": made["b_dec"],
    }


def saelens_settings(architecture: str, inputs: int, features: int, **settings: object) -> dict[str, Any]:
    """The `cfg.json` that SAELens 6 saves."""
    return {
        "architecture": architecture,
        "d_in": inputs,
        "d_sae": features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": "blocks.3.hook_resid_post", "prepend_bos": True},
        **settings,
    }


def sparsify_settings(inputs: int, **settings: object) -> dict[str, Any]:
    """The `cfg.json` that sparsify 1.3 saves."""
    return {
        "activation": "topk",
        "expansion_factor": 32,
        "normalize_decoder": True,
        "num_latents": 0,
        "k": 32,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": inputs,
        **settings,
    }


def saelens_features(settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], x: FloatArray) -> FloatArray:
    """What SAELens 6.54 computes for x (n, inputs), written anew from its `encode` methods, in float64."""
    t = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    given = np.asarray(x, np.float64)
    if settings.get("normalize_activations") == "layer_norm":
        given = given - given.mean(-1, keepdims=True)
        given = given / (given.std(-1, keepdims=True, ddof=1) + 1e-5)
    elif settings.get("normalize_activations") == "constant_norm_rescale":
        given = given * np.sqrt(given.shape[-1]) / np.linalg.norm(given, axis=-1, keepdims=True)
    if settings["apply_b_dec_to_input"]:
        given = given - t["b_dec"]
    if settings["architecture"] == "gated":
        gate = given @ t["W_enc"] + t["b_gate"]
        magnitude = given @ (t["W_enc"] * np.exp(t["r_mag"])) + t["b_mag"]
        return np.asarray((gate > 0) * np.maximum(magnitude, 0))
    before = given @ t["W_enc"] + t["b_enc"]
    if settings.get("rescale_acts_by_decoder_norm"):
        before = before * np.linalg.norm(t["W_dec"], axis=-1)
    match settings["architecture"]:
        case "standard":
            return np.maximum(before, 0)
        case "jumprelu":
            return np.asarray(np.maximum(before, 0) * (before > t["threshold"]))
        case "batchtopk":  # as save_inference_model writes it
            return np.asarray(np.maximum(before, 0) * (before > t["topk_threshold"]))
        case "topk":
            return np.maximum(_best(before, before, settings["k"]), 0)
        case _:
            return _best(before, np.abs(before), settings["k"])


def sparsify_features(settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], x: FloatArray) -> FloatArray:
    """What sparsify 1.3 computes for x (n, inputs), or the earlier sae with `signed`, in float64."""
    t = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    before = (np.asarray(x, np.float64) - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]
    if settings.get("signed"):
        return _best(before, np.abs(before), settings["k"])
    after = np.maximum(before, 0)
    if settings.get("activation", "topk") == "topk":
        return _best(after, after, settings["k"])
    made = np.zeros_like(after)
    width = after.shape[-1] // settings["k"]
    for row, values in enumerate(after):
        for start in range(0, len(values), width):
            best = start + int(values[start : start + width].argmax())
            made[row, best] = values[best]
    return made


def _best(values: FloatArray, order: FloatArray, k: int) -> FloatArray:
    made = np.zeros_like(values)
    for row in range(len(values)):
        kept = np.argsort(-order[row], kind="stable")[:k]
        made[row, kept] = values[row, kept]
    return made
