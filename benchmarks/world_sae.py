"""Count the polysemantic features of `scenes-sae`, and channels of their layer (docs/explanation/scenes.md).

    PYTHONPATH=. python benchmarks/world_sae.py

It needs the extra `models`, and takes a minute of one core.
"""

from __future__ import annotations

import numpy as np
from world_measures import anything
from world_polysemantic import polysemantic, truth
from world_statistics import TEST, TEST_SEED

from dnr_env.scenes import networks
from dnr_env.scenes.sae import FILE, Autoencoder
from dnr_env.scenes.sae_train import layer_of
from dnr_env.shapes.lexicon import vocabulary


def main() -> None:
    """Measure on the test pictures, and print."""
    starts = (TEST_SEED, TEST_SEED + TEST // 2)
    true = [truth(anything(range(start, start + TEST // 2)), vocabulary()) for start in starts]
    channels = layer_of(TEST_SEED, TEST)
    autoencoder = Autoencoder(networks.DATA / FILE)
    features = autoencoder.encode(channels)[:, autoencoder.alive]
    for name, units in (("channels", channels), ("features", features)):
        found = polysemantic(np.split(units, 2), true)
        print(f"{name:<10}{found.sum():>4} of {len(found):>4} {found.mean():.3f}")


if __name__ == "__main__":
    main()
