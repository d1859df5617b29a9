"""Train a target of the `shapes` stacks from scratch. It takes about six minutes on two cores.

    python -m dnr_env.shapes.train_target --width 16 --seed 0 --out target.safetensors

The two targets that the package ships were made with `--width 16 --seed 0` (`shapes`) and `--width 12 --seed 1`
(`shapes-transfer`). The command prints the accuracy of each family on pictures that training never saw. The setting
`target=target.safetensors` of a `shapes` stack studies the network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from tqdm import trange

from dnr_env.shapes.checkpoint import load_checkpoint, save_checkpoint
from dnr_env.shapes.lexicon import ANYTHING, FAMILIES, FAMILY_SLICES
from dnr_env.shapes.network import ShapesNet, to_input
from dnr_env.shapes.render import Renderer, draw
from dnr_env.shapes.weights import save_target
from dnr_env.types import IntArray

_FIRST_SEED = 1 << 40  # beyond every seed that the environment uses
_SAVED_EVERY = 200  # steps


def _batch(first: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    codes, uniforms = Renderer().resolve([ANYTHING] * size, range(first, first + size))
    return to_input(draw(codes, uniforms)), torch.from_numpy(codes)


def accuracy(network: ShapesNet, images: torch.Tensor, codes: IntArray) -> dict[str, float]:
    """The accuracy of each family: the share of pictures whose word is predicted."""
    with torch.inference_mode():
        logits = network(images)[0].numpy()
    return {
        family.name: float(np.mean(logits[:, part].argmax(axis=1) == codes[:, number]))
        for number, (family, part) in enumerate(zip(FAMILIES, FAMILY_SLICES, strict=True))
    }


def train(width: int, seed: int, steps: int, checkpoint: Path, batch: int = 128) -> ShapesNet:
    """Train on `steps` batches of pictures, each drawn once. A training that was stopped goes on from `checkpoint`."""
    torch.manual_seed(seed)
    network = ShapesNet(width).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.008, total_steps=steps)
    begin = load_checkpoint(checkpoint, network, optimiser)
    if begin:
        schedule.load_state_dict({**schedule.state_dict(), "last_epoch": begin - 1, "_step_count": begin})
        schedule.step()
    first = _FIRST_SEED * (seed + 1)
    for step in (bar := trange(begin, steps, initial=begin, total=steps, unit="batch")):
        images, codes = _batch(first + step * batch, batch)
        logits = network(images.contiguous(memory_format=torch.channels_last))[0]
        losses = [
            torch.nn.functional.cross_entropy(logits[:, part], codes[:, number])
            for number, part in enumerate(FAMILY_SLICES)
        ]
        loss = torch.stack(losses).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.2f}")
        if (step + 1) % _SAVED_EVERY == 0:
            save_checkpoint(checkpoint, network, optimiser, step + 1)
    checkpoint.unlink(missing_ok=True)
    return network.eval()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    network = train(options.width, options.seed, options.steps, options.out.with_suffix(".checkpoint"))
    images, codes = _batch(_FIRST_SEED // 2, 2000)
    for family, right in accuracy(network, images, codes.numpy()).items():
        print(f"{family:<12}{right:.3f}")
    save_target(options.out, network, "shapes", width=str(options.width))


if __name__ == "__main__":
    main()
