"""The networks under study: three small architectures that say which words and conjunctions a picture shows.

Every layer is narrower than what it has to carry: in the shipped ones, 300 outputs are read from 48 channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from dnr_env.scenes.outputs import OUTPUTS
from dnr_env.scenes.widths import WIDTHS
from dnr_env.shapes.network import LAYERS, Block

_STRIDES = (1, 2, 2, 1)


class SceneNet(nn.Module):
    """A stem, four layers, and one linear head on the channel means of the last.

    Args:
        architecture: one of ARCHITECTURES.
        widths: the channels of the four layers; None for those of WIDTHS.
    """

    def __init__(self, architecture: str, widths: Sequence[int] | None = None) -> None:
        super().__init__()
        widths = widths or WIDTHS[architecture]
        make_stem, make_layer = ARCHITECTURES[architecture]
        self.stem = make_stem(widths[0])
        for name, inputs, outputs, stride in zip(LAYERS, (widths[0], *widths), widths, _STRIDES, strict=False):
            self.add_module(name, make_layer(inputs, outputs, stride))
        self.head = nn.Linear(widths[-1], len(OUTPUTS))
        nn.init.constant_(self.head.bias, -3.0)  # most outputs are rare

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the logits (n, outputs) and each layer's channel means [(n, channels)] of (n, 3, 64, 64)."""
        x = self.stem(x)
        pooled = []
        for name in LAYERS:
            x = self.get_submodule(name)(x)
            pooled.append(x.mean(dim=(2, 3)))
        return self.head(pooled[-1]), pooled

    def maps(self, x: Tensor, layer: str) -> Tensor:
        """Compute the channels (n, channels, rows, columns) of one layer of (n, 3, 64, 64)."""
        x = self.stem(x)
        for name in LAYERS[: LAYERS.index(layer) + 1]:
            x = self.get_submodule(name)(x)
        return x


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _plain_layer(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Two convolutions (Simonyan and Zisserman 2015), here with batch normalisation."""
    return nn.Sequential(_convolution(inputs, outputs, stride), _convolution(outputs, outputs, 1))


class _DepthwiseLayer(nn.Module):
    """A strided patch where the grid shrinks, then two blocks as of ConvNeXt (Liu et al. 2022, figure 4).

    Convolutions are 5 x 5, channels are expanded twofold, and batch normalisation stands for layer normalisation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        same = inputs == outputs and stride == 1
        self.patch = nn.Identity() if same else nn.Conv2d(inputs, outputs, stride, stride)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(outputs, outputs, 5, 1, 2, groups=outputs, bias=False),
                nn.BatchNorm2d(outputs),
                nn.Conv2d(outputs, 2 * outputs, 1),
                nn.GELU(),
                nn.Conv2d(2 * outputs, outputs, 1),
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h / stride, w / stride). Channels may be negative."""
        x = self.patch(x)
        for block in self.blocks:
            x = x + block(x)
        return x


def _patches(outputs: int) -> nn.Module:
    """Disjoint patches of 4 x 4 pixels."""
    return nn.Sequential(nn.Conv2d(3, outputs, 4, 4, bias=False), nn.BatchNorm2d(outputs))


_Make = Callable[[int, int, int], nn.Module]
ARCHITECTURES: dict[str, tuple[Callable[[int], nn.Module], _Make]] = {
    "plain": (lambda width: _convolution(3, width, 2), _plain_layer),
    "residual": (lambda width: _convolution(3, width, 2), Block),
    "depthwise": (_patches, _DepthwiseLayer),
}
"""What makes the stem and a layer of each architecture. WIDTHS has the widths of the layers."""
