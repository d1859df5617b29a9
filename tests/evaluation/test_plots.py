"""The plots of comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from records import episode

from dnr_env.evaluation.plots import plot_curves, plot_differences, plot_profiles, plot_quality
from dnr_env.evaluation.results import Results


def test_plots_are_900_pixels_wide_whatever_the_agents(tmp_path: Path) -> None:
    """The agents range from a single one to more than there are colours."""
    for names in (["ppo"], [f"a-long-name-of-a-loop:{i}@informed" for i in range(32)]):
        rng = np.random.default_rng(0)
        records = [
            {**episode(name, "", n, 1, rng.normal(size=3).tolist()), "net": float(rng.normal())}
            for name in names
            for n in range(2)
        ]
        results = Results(records, {})
        plot_curves(results, tmp_path / "curves.png")
        plot_profiles(results, tmp_path / "profiles.png")
        plot_quality(results, tmp_path / "quality.png")
        plot_differences(results, results.reference, results.others, tmp_path / "differences.png")
        for path in tmp_path.iterdir():
            with Image.open(path) as image:
                assert image.width == 900
