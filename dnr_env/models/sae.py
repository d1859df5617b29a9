"""The encoder of a sparse autoencoder, which maps a layer's channels to features."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError
from dnr_env.files import file_digest
from dnr_env.models.hub import loading

if TYPE_CHECKING:
    import torch

_NEEDED = (
    "`target.sae` must contain W_enc (inputs, features) and b_enc, or "
    "encoder.weight (features, inputs) and encoder.bias"
)


@dataclass(frozen=True)
class SparseAutoencoder:
    """Features relu(weight @ x + bias), which are zero up to a threshold if there is one (JumpReLU)."""

    weight: torch.Tensor
    """(features, inputs) float32."""
    bias: torch.Tensor
    """(features,) float32. It includes the vector that is subtracted from the input."""
    threshold: torch.Tensor | None
    """(features,) float32, or None for a plain ReLU."""
    digest: str
    """A hash of the file and of the setting that changes its meaning."""

    @classmethod
    def load(cls, path: str | Path) -> SparseAutoencoder:
        """Load a safetensors file with `W_enc` and `b_enc`, or `encoder.weight` and `encoder.bias`.

        A vector `b_dec`, `pre_bias` or `bias` is subtracted from the input, unless a `cfg.json` beside the file says
        `"apply_b_dec_to_input": false`. A vector `threshold`, or its logarithm `log_threshold`, makes it a JumpReLU.

        Raises:
            DnRError: the file does not exist, its tensors do not fit, `cfg.json` names a `normalize_activations`, or
                only the k largest features are kept, which cannot be computed for a single feature.
        """
        import torch
        from safetensors.torch import load_file

        path = Path(path)
        if not path.is_file():
            raise DnRError(
                f"`target.sae` must be a safetensors file of a sparse autoencoder (got {str(path)!r}, which is no file)"
            )
        with loading("target.sae", str(path)):
            tensors = load_file(path)
            beside = path.with_name("cfg.json")
            settings = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        kind = " ".join(str(settings.get(key, "")) for key in ("architecture", "activation_fn", "activation_fn_str"))
        if "k" in tensors or "topk" in kind.lower():
            raise DnRError(
                f"`target.sae` must have ReLU or JumpReLU (got {str(path)!r}, which keeps the k largest features)"
            )
        if settings.get("normalize_activations") not in (None, "none"):
            raise DnRError(
                f"`target.sae` must have its input normalisation folded into its weights (got {str(path)!r}, which "
                "normalises its input)"
            )
        if "W_enc" in tensors and "b_enc" in tensors:
            weight, bias = tensors["W_enc"].T, tensors["b_enc"]
        elif "encoder.weight" in tensors and "encoder.bias" in tensors:
            weight, bias = tensors["encoder.weight"], tensors["encoder.bias"]
        else:
            raise DnRError(f"{_NEEDED} (got {', '.join(sorted(tensors)[:12])} in {str(path)!r})")
        threshold = tensors.get("threshold")
        if "log_threshold" in tensors:
            threshold = tensors["log_threshold"].exp()
        centre = next((tensors[name] for name in ("b_dec", "pre_bias", "bias") if name in tensors), None)
        if weight.ndim != 2 or any(
            vector is not None and vector.shape != weight.shape[axis : axis + 1]
            for vector, axis in ((bias, 0), (threshold, 0), (centre, 1))
        ):
            shapes = {name: tuple(tensor.shape) for name, tensor in sorted(tensors.items())}
            raise DnRError(f"{_NEEDED}, with shapes that match (got {shapes} in {str(path)!r})")
        weight, bias = weight.to(torch.float32).contiguous(), bias.to(torch.float32)
        subtracts = settings.get("apply_b_dec_to_input", True)
        if centre is not None and subtracts:
            bias = bias - weight @ centre.to(torch.float32)
        digest = file_digest(path).hex()[:32] + ("" if subtracts else "-uncentred")
        return cls(weight, bias, None if threshold is None else threshold.to(torch.float32), digest)

    @property
    def inputs(self) -> int:
        """The number of channels of the layer that it reads."""
        return self.weight.shape[1]

    @property
    def features(self) -> int:
        """The number of features."""
        return self.weight.shape[0]

    def to(self, device: torch.device) -> SparseAutoencoder:
        """Return a copy on a device."""
        threshold = None if self.threshold is None else self.threshold.to(device)
        return replace(self, weight=self.weight.to(device), bias=self.bias.to(device), threshold=threshold)

    def encode(self, channels: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) to the features (..., len(features)) with those indices, float32. NaN stays NaN."""
        import torch

        before = torch.nn.functional.linear(channels.float(), self.weight[features], self.bias[features])
        after = before.relu()
        return after if self.threshold is None else after * (before > self.threshold[features])
