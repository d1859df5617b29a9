"""The encoder of a sparse autoencoder, which maps a layer's channels to features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NORMS = ("none", "layer_norm", "constant_norm_rescale")
"""How the channels of a position may be normalised: not; to mean 0 and deviation 1; or to the norm sqrt(inputs)."""


@dataclass(frozen=True)
class SparseAutoencoder:
    """An encoder: the input is normalised and centred, mapped linearly, and made sparse."""

    kind: str
    """How features are made sparse.

    - relu: negative features are zero.
    - jumprelu: features up to their `threshold` are zero too.
    - gated: features whose `gate` is closed are zero.
    - topk: all but the k largest features of a position are zero.
    - abstopk: so are all but the k features of the largest magnitude, which keep their signs.
    - groupmax: so are all but the largest feature in each of k groups of neighbouring features.
    """
    weight: torch.Tensor
    """(features, inputs) float32."""
    bias: torch.Tensor
    """(features,) float32."""
    digest: str
    """A hash of the file and of everything else that decides what it computes."""
    centre: torch.Tensor | None = None
    """(inputs,) float32, which is subtracted from the normalised input."""
    norm: str = "none"
    """One of NORMS."""
    k: int = 0
    """The number of features of a position that remain, or of groups."""
    scale: torch.Tensor | None = None
    """(features,) float32, by which features are multiplied before the largest are chosen."""
    threshold: torch.Tensor | None = None
    """(features,) float32, of jumprelu."""
    gate: torch.Tensor | None = None
    """(features,) float32, of gated: the bias of the gate, which is open above 0."""
    log_scale: torch.Tensor | None = None
    """(features,) float32, of gated: the logarithm of what the magnitude's weights are to the gate's."""

    @property
    def inputs(self) -> int:
        """The number of channels of the layer that it reads."""
        return self.weight.shape[1]

    @property
    def features(self) -> int:
        """The number of features."""
        return self.weight.shape[0]

    def computed(self, wanted: int) -> int:
        """Return how many features of a position are computed to know `wanted` of them."""
        return self.features if self._competes else wanted

    def to(self, device: torch.device) -> SparseAutoencoder:
        """Return a copy on a device."""
        more = ("centre", "scale", "threshold", "gate", "log_scale")
        moved: dict[str, Any] = {name: value.to(device) for name in more if (value := getattr(self, name)) is not None}
        return replace(self, weight=self.weight.to(device), bias=self.bias.to(device), **moved)

    def encode(self, channels: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) to the features (..., len(features)) with those indices, float32. NaN stays NaN."""
        import torch

        given = self._normalised(channels.float())
        given = given if self.centre is None else given - self.centre
        if self._competes:
            before = torch.nn.functional.linear(given, self.weight, self.bias)
            kept = self._kept(before if self.scale is None else before * self.scale)[..., features]
            # A NaN among the features would take a place of the k and hide that the others are unknown.
            return torch.where(before.isnan().any(-1, keepdim=True), torch.nan, kept)
        if self.gate is not None and self.log_scale is not None:
            shared = torch.nn.functional.linear(given, self.weight[features])
            magnitude = (shared * self.log_scale[features].exp() + self.bias[features]).relu()
            return magnitude * (shared + self.gate[features] > 0)
        before = torch.nn.functional.linear(given, self.weight[features], self.bias[features])
        after = before.relu()
        return after if self.threshold is None else after * (before > self.threshold[features])

    @property
    def _competes(self) -> bool:
        """Whether a feature depends on the other features of its position."""
        return self.kind in ("topk", "abstopk", "groupmax")

    def _normalised(self, channels: torch.Tensor) -> torch.Tensor:
        """Normalise as SAELens does: the deviation is the unbiased one, and 1e-5 is added to it."""
        import torch

        if self.norm == "layer_norm":
            centred = channels - channels.mean(-1, keepdim=True)
            return centred / (centred.std(-1, keepdim=True) + 1e-5)
        if self.norm == "constant_norm_rescale":
            length = torch.linalg.vector_norm(channels, dim=-1, keepdim=True)
            scaled: torch.Tensor = channels * (self.inputs**0.5 / length)
            return scaled
        return channels

    def _kept(self, before: torch.Tensor) -> torch.Tensor:
        """Set the features (..., features) to zero that lose against others of their position."""
        import torch

        if self.kind == "abstopk":
            best = before.abs().topk(self.k, sorted=False).indices
            return torch.zeros_like(before).scatter(-1, best, before.gather(-1, best))
        after = before.relu()
        if self.kind == "topk":
            values, best = after.topk(self.k, sorted=False)
            return torch.zeros_like(after).scatter(-1, best, values)
        groups = after.reshape(*after.shape[:-1], self.k, -1)
        values, best = groups.max(-1, keepdim=True)
        return torch.zeros_like(groups).scatter(-1, best, values).flatten(-2)
