"""Random weights for the networks of `scenes`, which answer differently to different pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dnr_env.scenes import clip, sae
from dnr_env.scenes.network import SceneNet
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.widths import WIDTHS
from dnr_env.shapes.lexicon import ANYTHING
from dnr_env.shapes.network import LAYERS, to_input

_FRESH, _COUNT = 1 << 51, 48


def write_weights(folder: Path) -> Path:
    """Write the weights of the targets, of an autoencoder and of the CLIP into a folder. Returns the folder."""
    pictures = to_input(SceneRenderer().generate([ANYTHING] * _COUNT, range(_FRESH, _FRESH + _COUNT)))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for architecture in WIDTHS:
            network = SceneNet(architecture)
            _see(network, pictures)
            _enliven(network.head, network(pictures)[1][-1])
            save_file(network.state_dict(), folder / f"target-{architecture}.safetensors")
        model = clip.build().to(memory_format=torch.contiguous_format)
        _see(model.visual, pictures)
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "clip.safetensors"
        )
        target = SceneNet(sae.TARGET)
        target.load_state_dict(load_file(folder / f"target-{sae.TARGET}.safetensors"))
        save_file(_autoencoder(target.eval()(pictures)[1][LAYERS.index(sae.LAYER)]), folder / sae.FILE)
    return folder


def _autoencoder(channels: Tensor) -> dict[str, Tensor]:
    """Random features of channels (n, width), every fifth of which is dead."""
    deviation, mean = torch.std_mean(channels, dim=0)
    directions = torch.randn(len(mean), sae.FEATURES)
    return {
        "W_enc": directions / deviation[:, None],
        "b_enc": 0.1 * torch.randn(sae.FEATURES),
        "b_dec": mean,
        "rate": (torch.arange(sae.FEATURES) % 5 > 0) * 0.05,
    }


def _see(network: nn.Module, pictures: Tensor) -> None:
    """Normalise batches by the statistics of some pictures, and switch to evaluation."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(pictures)
    network.eval()


def _enliven(head: nn.Linear, features: Tensor) -> None:
    """Let logits have a deviation of about 2, and a mean of -2, over the pictures with these features (n, width)."""
    head.weight.copy_(2 * torch.randn_like(head.weight) / (features.std(dim=0) * features.shape[1] ** 0.5))
    head.bias.copy_(-2 - head.weight @ features.mean(dim=0))
