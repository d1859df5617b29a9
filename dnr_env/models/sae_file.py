"""Reads sparse autoencoders from the files of SAELens and sparsify, and refuses what it does not know by name."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnr_env.errors import DnRError
from dnr_env.files import file_digest
from dnr_env.models import sae_keys as names
from dnr_env.models.hub import loading
from dnr_env.models.sae import NORMS, SparseAutoencoder

if TYPE_CHECKING:
    import torch

Tensors = Mapping[str, "torch.Tensor"]
Settings = Mapping[str, Any]

_CONVERT = (
    "save it in the form of SAELens instead: W_enc (inputs, features), b_enc, b_dec, and a cfg.json such as "
    '{"architecture": "topk", "k": 32, "apply_b_dec_to_input": true}'
)


def load_autoencoder(path: str | Path) -> SparseAutoencoder:
    """Load a safetensors file of SAELens or sparsify, with the `cfg.json` that lies beside it.

    From SAELens, the architectures standard, jumprelu, gated, topk and abstopk are read, and batchtopk as SAELens
    saves it: as a jumprelu with one threshold for all features. From sparsify: topk, groupmax and signed topk.
    Numbers are computed in float32, whatever number format the file has.

    Raises:
        DnRError: there is no such file, or no `cfg.json`; or the file is of another library, or it has a setting or a
            tensor that is unknown or means something that is not computed here.
    """
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise DnRError(
            f"`target.sae` must be a safetensors file of a sparse autoencoder (got {str(path)!r}, which is not a file)"
        )
    if path.suffix != ".safetensors":
        raise _refusal(
            path,
            "be a safetensors file of SAELens or sparsify",
            "which may be of dictionary_learning, Prisma or overcomplete",
            f"; {_CONVERT}",
        )
    with loading("target.sae", str(path)):
        tensors = load_file(path)
    settings = _settings(path, "cfg.json")
    _check_library(path, tensors, settings if settings is not None else _settings(path, "config.json") or {})
    if settings is None:
        example = '{"k": 32}' if "encoder.weight" in tensors else '{"architecture": "standard", "d_sae": 4096, …}'
        raise _refusal(
            path,
            "have a cfg.json beside it, as SAELens and sparsify save it, because tensors do not tell ReLU from top-k",
            "which has none",
            f"; write one such as {example} if you know how it was trained",
        )
    with loading("target.sae", str(path)):
        return (_sparsify if "encoder.weight" in tensors else _saelens)(path, tensors, settings)


def _saelens(path: Path, tensors: Tensors, settings: Settings) -> SparseAutoencoder:
    _check_keys(path, "SAELens", settings, names.SAELENS_READ | names.SAELENS_TRAINING)
    architecture, k = _architecture(path, settings)
    _check_place(path, settings)
    for key in ("k", "rescale_acts_by_decoder_norm"):
        if architecture in ("standard", "jumprelu", "gated") and settings.get(key):
            raise _refusal(path, f"have no `{key}` with the architecture {architecture}", repr(settings[key]))
    if "log_threshold" in tensors:  # in training checkpoints of jumprelu
        rest = {name: tensor for name, tensor in tensors.items() if name != "log_threshold"}
        tensors = {**rest, "threshold": tensors["log_threshold"].float().exp()}
    encoder = names.SAELENS_TENSORS[architecture]
    if "b_dec" in tensors:
        if not isinstance(settings.get("apply_b_dec_to_input"), bool):
            raise _refusal(
                path,
                "have `apply_b_dec_to_input` true or false in its cfg.json",
                repr(settings.get("apply_b_dec_to_input")),
            )
    elif settings.get("apply_b_dec_to_input"):
        encoder = encoder | {"b_dec"}
    rescaled = settings.get("rescale_acts_by_decoder_norm") or False
    if rescaled:
        encoder = encoder | {"W_dec"}
    inputs, features = _shape(path, tensors, "W_enc")
    shapes = dict.fromkeys(encoder, (features,)) | {
        "W_enc": (inputs, features),
        "W_dec": (features, inputs),
        "b_dec": (inputs,),
        "topk_threshold": (),
    }
    _check_tensors(path, tensors, encoder, names.SAELENS_DECODER, shapes)
    _check_sizes(path, settings, {"d_in": inputs, "d_sae": features})
    made = {name: tensors[name].float() for name in encoder | ({"b_dec"} & tensors.keys())}
    norms = made["W_dec"].norm(dim=-1) if rescaled else None
    if "topk_threshold" in made:  # what save_inference_model of SAELens does
        architecture, made["threshold"] = "jumprelu", made["topk_threshold"].repeat(features)
        if norms is not None:
            made["W_enc"], made["b_enc"] = made["W_enc"] * norms, made["b_enc"] * norms
    norm = _norm(path, settings.get("normalize_activations"))
    centred = "b_dec" in made and settings["apply_b_dec_to_input"]
    return SparseAutoencoder(
        "relu" if architecture == "standard" else architecture,
        made["W_enc"].T.contiguous(),
        made["b_mag" if architecture == "gated" else "b_enc"],
        _digest(path, "saelens", architecture, k, norm, centred, rescaled),
        centre=made["b_dec"] if centred else None,
        norm=norm,
        k=_checked_k(path, k, features) if architecture in ("topk", "abstopk") else 0,
        scale=norms if architecture != "jumprelu" else None,
        threshold=made.get("threshold"),
        gate=made.get("b_gate"),
        log_scale=made.get("r_mag"),
    )


def _sparsify(path: Path, tensors: Tensors, settings: Settings) -> SparseAutoencoder:
    _check_keys(path, "sparsify", settings, names.SPARSIFY_READ | names.SPARSIFY_TRAINING)
    activation = settings.get("activation", "topk")
    if activation not in ("topk", "groupmax") or (settings.get("signed") and activation != "topk"):
        raise _refusal(path, "have the `activation` topk or groupmax", repr(activation))
    if settings.get("transcode"):
        raise _refusal(path, "have `transcode` false", "which is a transcoder and would need the input of a module")
    features, inputs = _shape(path, tensors, "encoder.weight")
    shapes = {"encoder.bias": (features,), "b_dec": (inputs,)}
    _check_tensors(path, tensors, names.SPARSIFY_TENSORS, names.SPARSIFY_DECODER, shapes)
    _check_sizes(path, settings, {"d_in": inputs, "num_latents": features}, zero="num_latents")
    k = _checked_k(path, settings.get("k"), features)
    if activation == "groupmax" and features % k:
        raise _refusal(path, f"have a `k` that divides its {features} features", str(k))
    kind = "abstopk" if settings.get("signed") else activation
    return SparseAutoencoder(
        kind,
        tensors["encoder.weight"].float(),
        tensors["encoder.bias"].float(),
        _digest(path, "sparsify", kind, k),
        centre=tensors["b_dec"].float(),
        k=k,
    )


def _architecture(path: Path, settings: Settings) -> tuple[str, object]:
    """Return SAELens's architecture and k. Until version 6, the activation function said whether it is top-k."""
    given = [settings[key] for key in ("activation_fn", "activation_fn_str") if key in settings]
    architecture = settings.get("architecture", "standard" if given else None)
    if architecture in names.SAELENS_REFUSED:
        raise _refusal(
            path,
            f"have an architecture such as {', '.join(names.SAELENS_TENSORS)}",
            f"{architecture}, which would need {names.SAELENS_REFUSED[architecture]}",
        )
    if architecture not in names.SAELENS_TENSORS:
        raise _refusal(
            path, f"have in its cfg.json one `architecture` of {', '.join(names.SAELENS_TENSORS)}", repr(architecture)
        )
    if not given:
        return architecture, settings.get("k")
    options = settings.get("activation_fn_kwargs") or {}
    if all(name == "relu" for name in given) and architecture != "topk":
        return architecture, settings.get("k")
    if all(name == "topk" for name in given) and architecture in ("standard", "topk") and options.keys() <= {"k"}:
        return "topk", options.get("k", settings.get("k"))
    raise _refusal(
        path,
        "have the activation function relu, or topk with the architecture standard or topk",
        f"{given[0]!r} with {options} in {architecture}",
    )


def _check_place(path: Path, settings: Settings) -> None:
    """Refuse what was trained on a part of a layer's output."""
    where = {**(settings.get("metadata") or {}), **settings}
    hook = str(where.get("hook_name", where.get("hook_point", "")))
    heads = "hook_z" if hook.endswith("_z") else "none"  # until version 6, the name of the place said so
    for key, value in (
        ("reshape_activations", settings.get("reshape_activations", heads)),
        ("hook_head_index", where.get("hook_head_index")),
        ("hook_point_head_index", where.get("hook_point_head_index")),
    ):
        if value not in (None, "none"):
            raise _refusal(
                path,
                f"have no `{key}`",
                f"{value!r}, which would need the outputs of single attention heads, as no module returns them",
            )


def _norm(path: Path, value: object) -> str:
    """Return the normalisation of the input. Until version 2 it was true or false."""
    if value is None or value is False:
        return "none"
    if value in NORMS:
        return str(value)
    need = {
        "covariance_whitening": "matrices that are not in the file: call fold_activation_whitening of SAELens first",
        "expected_average_only_in": "a factor that is not in the file: call fold_activation_norm_scaling_factor first",
    }
    known = need.get("expected_average_only_in" if value is True else str(value), "code of its own")
    raise _refusal(
        path,
        f"have a `normalize_activations` of {', '.join(NORMS)}",
        f"{value!r}, which would need {known}",
    )


def _check_library(path: Path, tensors: Tensors, settings: Settings) -> None:
    """Refuse other libraries by name, and what is of no library."""
    for library, (starts, keys, need) in names.OTHERS.items():
        found = [name for name in tensors if any(name == start or name.startswith(f"{start}.") for start in starts)]
        found += [key for key in keys if key in settings]
        if found:
            raise _refusal(
                path,
                "be of SAELens or sparsify",
                f"whose {found[0]} is of {library}, which would need {need}",
                f"; {_CONVERT}",
            )
    if not {"W_enc", "encoder.weight"} & tensors.keys():
        raise _refusal(
            path,
            "hold W_enc (inputs, features) as in SAELens, or encoder.weight (features, inputs) as in sparsify",
            f"which holds {', '.join(sorted(tensors)[:12])}",
        )


def _check_keys(path: Path, library: str, settings: Settings, known: Collection[str]) -> None:
    strange = sorted(settings.keys() - set(known))
    if strange:
        raise _refusal(
            path,
            f"have settings of {library} only, because another one may change its features",
            f"whose cfg.json has {', '.join(strange[:6])}",
        )


def _check_tensors(
    path: Path, tensors: Tensors, needed: Collection[str], more: Collection[str], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Require some tensors, allow `more`, and refuse others. `shapes` has those of the tensors that are used."""
    if not set(needed) <= tensors.keys() <= {*needed, *more}:
        raise _refusal(
            path, f"hold {', '.join(sorted(needed))} and nothing unknown", f"which holds {', '.join(sorted(tensors))}"
        )
    if whole := [name for name in sorted(needed) if not tensors[name].is_floating_point()]:
        raise _refusal(path, "hold floating-point numbers", f"whose {whole[0]} has {tensors[whole[0]].dtype}")
    found = {name: tuple(tensor.shape) for name, tensor in sorted(tensors.items()) if name in shapes}
    if any(shape != shapes[name] for name, shape in found.items()):
        raise _refusal(path, "hold tensors whose shapes match", f"which holds {found}")


def _check_sizes(path: Path, settings: Settings, sizes: Mapping[str, int], zero: str = "") -> None:
    """Compare sizes in the settings with those of the tensors. The one named `zero` may be 0."""
    for key, size in sizes.items():
        if settings.get(key, size) not in (size, 0 if key == zero else size):
            raise _refusal(path, f"have the `{key}` {size} of its tensors in its cfg.json", repr(settings[key]))


def _checked_k(path: Path, k: object, features: int) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= features:
        raise _refusal(path, f"have a whole `k` from 1 to {features} in its cfg.json", repr(k))
    return k


def _shape(path: Path, tensors: Tensors, name: str) -> tuple[int, int]:
    if tensors[name].ndim != 2:
        raise _refusal(path, f"hold {name} with two axes", str(tuple(tensors[name].shape)))
    first, second = tensors[name].shape
    return first, second


def _settings(path: Path, name: str) -> Settings | None:
    """Read the settings beside the file, or return None if there are none."""
    beside = path.with_name(name)
    if not beside.is_file():
        return None
    with loading("target.sae", str(beside)):
        settings = json.loads(beside.read_text(encoding="utf-8"))
    if not isinstance(settings, dict):
        raise _refusal(path, f"have a JSON object in its {name}", repr(settings)[:80])
    return settings


def _digest(path: Path, *meaning: object) -> str:
    return f"{file_digest(path).hex()[:32]} {' '.join(map(str, meaning))}"


def _refusal(path: Path, must: str, got: str, further: str = "") -> DnRError:
    return DnRError(f"`target.sae` must {must} (got {str(path)!r}, {got}){further}")
