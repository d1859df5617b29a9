"""Are labels narrower than the exemplars show? Asks the true attributes of the exemplars of 20 neurons of each world.

    PYTHONPATH=. python benchmarks/narrow.py --out results/narrow

An exemplar shows a label if one of its objects, with the background, has all that the label says. Three labels of each
neuron are compared: the label of the highest value if words had no price, the same at the default price
(`benchmarks/words.py`), and the policy's. OUT/narrow-WORLD.md lists the neurons, OUT/narrow.md has the means.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from study_settings import LAYERS, WORLDS
from words import SEARCHES
from world_measures import anything
from world_polysemantic import truth

from dnr_env import DnRError, load_stack
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.results import markdown
from dnr_env.evaluation.rollout import rollout
from dnr_env.evidence.probe import EXEMPLARS
from dnr_env.files import make_folder, write_atomically
from dnr_env.scores import WORD_PRICE
from dnr_env.seeds import Purpose
from dnr_env.shapes import lexicon
from dnr_env.shapes.parse import values_of
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Stack
from dnr_env.structure import Phrase
from dnr_env.types import BoolArray


@dataclass(frozen=True)
class Options:
    """Ask whether labels are narrower than the exemplars show."""

    out: Path
    """Folder of the tables."""
    policy: str = "learned"
    """The policy: `learned`, or the folder of a training."""
    neurons: int = 20
    """The number of channels of each world, a random choice."""
    seed: int = 9
    """Seed of the choice, and of the policy's episodes."""


def shown_in_scenes(seeds: Sequence[int], phrase: str) -> BoolArray:
    """(n,) whether pictures of `scenes` show a noun phrase."""
    return truth(anything(seeds), [phrase])[:, 0] > 0


def shown_in_shapes(seeds: Sequence[int], phrase: str) -> BoolArray:
    """(n,) whether pictures of `shapes`, which have one object, show a noun phrase."""
    codes, _ = Renderer().resolve([lexicon.ANYTHING] * len(seeds), seeds)
    allowed = lexicon.allowed_words(values_of(phrase))
    places = np.array([part.start for part in lexicon.FAMILY_SLICES])
    shown: BoolArray = allowed[codes + places].all(axis=1)
    return shown


SHOWN: dict[str, Callable[[Sequence[int], str], BoolArray]] = {"shapes": shown_in_shapes, "scenes": shown_in_scenes}


def shows(stack: Stack, label: str) -> BoolArray:
    """(images,) whether the searched real images show a label: one of its phrases, and not what that leaves out."""
    numbers = [int(source.removeprefix("#")) for source in stack.probe.sources()]
    seeds = Purpose.PROBE.seeds(0, max(numbers) + 1)[numbers].tolist()
    shown = SHOWN[stack.name]

    def holds(phrase: Phrase) -> BoolArray:
        drawn = shown(seeds, phrase.drawn)
        return drawn if phrase.excluded is None else drawn & ~shown(seeds, phrase.excluded)

    result: BoolArray = np.any([holds(phrase) for phrase in stack.language.parts(label).phrases], axis=0)
    return result


def main() -> None:
    """Name the neurons, count, and write the tables."""
    options = tyro.cli(Options)
    try:
        make_folder(options.out)
        means = []
        for world in WORLDS:
            stack = load_stack(world)
            alive = [n for n in stack.neurons.select(",".join(LAYERS)) if stack.probe.alive[n]]
            chosen = np.sort(np.random.default_rng(options.seed).choice(alive, options.neurons, replace=False)).tolist()
            best = SEARCHES[world](stack, chosen, (0.0, WORD_PRICE))
            names = [stack.neurons[neuron] for neuron in chosen]
            jobs = [(name, options.seed) for name in names]
            played = rollout(make_agent(options.policy), jobs, stack=stack, mutator="informed")
            labels = {
                "best, words without a price": best[0.0],
                "best": best[WORD_PRICE],
                "the policy's": [one.label for one in played],
            }
            counts = {}
            for name, found in labels.items():
                shown = np.stack([shows(stack, label) for label in found])
                counts[name] = one = np.take_along_axis(shown, stack.probe.exemplars[chosen], axis=1).sum(axis=1)
                usual, few = EXEMPLARS * shown.mean(), np.sum(2 * one < EXEMPLARS)
                means.append([world, name, f"{one.mean():.1f}", f"{usual:.2f}", f"{few} of {len(one)}"])
            rows = [[name, *(f"{labels[key][i]} ({counts[key][i]})" for key in labels)] for i, name in enumerate(names)]
            write_atomically(options.out / f"narrow-{world}.md", f"{markdown(('neuron', *labels), rows)}\n".encode())
        columns = (
            "world", "label", f"exemplars of {EXEMPLARS} that show it", f"of {EXEMPLARS} ordinary real images",
            "shown by fewer than half of the exemplars",
        )  # fmt: skip
        text = markdown(columns, means)
        write_atomically(options.out / "narrow.md", f"{text}\n".encode())
        print(text)
    except DnRError as error:
        sys.exit(f"narrow.py: {error}")


if __name__ == "__main__":
    main()
