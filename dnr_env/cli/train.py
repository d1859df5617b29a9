"""Train a policy on the environment with Stable-Baselines3.

    dnr-train --out runs/ppo                      # five seeds of MaskablePPO, ten minutes
    dnr-train --out runs/dqn --algorithm dqn --network flat --seeds 0
    dnr-train --out runs/cloned --clone patience:2 --steps 0

For each seed it writes a folder with the policy that did best on the validation split (safetensors and JSON), the
learning curve (CSV and PNG), TensorBoard logs and a checkpoint. The same command goes on where it was stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import tyro

from dnr_env.cli.ends import ending
from dnr_env.errors import DnRError
from dnr_env.extras import needed


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `dnr-train`."""
    try:
        with needed("train"):
            from dnr_env.agents.training.options import Options, check
            from dnr_env.agents.training.train import train_seed
    except DnRError as error:
        sys.exit(f"dnr-train: {error}")
    options = tyro.cli(Options, prog="dnr-train", args=arguments)
    with ending("dnr-train", options.out):
        check(options)
        for seed in dict.fromkeys(options.seeds):
            train_seed(options, seed)
        print(f"policies in {options.out}; next: dnr compare --agents promise rounds:1@informed {options.out} --out …")
