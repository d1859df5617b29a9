"""The network under study: a small residual network that classifies the attributes of a Shapes picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnr_env.shapes.lexicon import FAMILIES
from dnr_env.types import ImageArray

LAYERS = ("layer1", "layer2", "layer3", "layer4")


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ShapesNet(nn.Module):
    """Four layers of `width`, 2 `width`, 4 `width` and 8 `width` channels, with one linear head over all words."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.layer1 = Block(width, width, 1)
        self.layer2 = Block(width, 2 * width, 2)
        self.layer3 = Block(2 * width, 4 * width, 2)
        self.layer4 = Block(4 * width, 8 * width, 2)
        self.head = nn.Linear(8 * width, sum(len(family.words) for family in FAMILIES))

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the words' logits (n, words) and each layer's channel means [(n, channels)] of (n, 3, 64, 64)."""
        x = self.stem(x)
        pooled = []
        for name in LAYERS:
            x = getattr(self, name)(x)
            pooled.append(x.mean(dim=(2, 3)))
        return self.head(pooled[-1]), pooled

    def maps(self, x: Tensor, layer: str) -> Tensor:
        """Compute the channels (n, channels, rows, columns) of one layer of (n, 3, 64, 64)."""
        x = self.stem(x)
        for name in LAYERS[: LAYERS.index(layer) + 1]:
            x = getattr(self, name)(x)
        return x


def to_input(images: ImageArray) -> Tensor:
    """Convert pictures (n, 64, 64, 3) uint8 to (n, 3, 64, 64) float32 between -1 and 1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
