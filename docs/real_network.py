"""Draws docs/real-network.png, labels of a real network beside its exemplars; counts how often they are true of them.

dnr label --stack "shapes target.network=example:efficientnet_lite0 target.layers=[blocks.0,blocks.1,blocks.2]" \
  --neurons blocks.0:0-15,blocks.1:0-23,blocks.2:0-23 --out results/real
python docs/real_network.py results/real
"""

import csv
import sys
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dnr_env.registry import load
from dnr_env.shapes import lexicon
from dnr_env.shapes.parse import values_of

SHOWN, SIDE, COLUMNS, TEXT = 9, 40, 8, 40

results = Path(sys.argv[1])
with (results / "labels.csv").open(encoding="utf-8") as file:
    labels = {row["neuron"]: row["label"] for row in csv.DictReader(file)}
exemplars: dict[str, list[int]] = {}
with (results / "exemplars.csv").open(encoding="utf-8") as file:
    for row in csv.DictReader(file):
        if row["band"] == "top":
            exemplars.setdefault(row["neuron"], []).append(int(row["image"].removeprefix("#")))

world = load("shapes")
assert world.judge_embedder  # the true attributes of the pictures
shown = lexicon.word_probabilities(world.judge_embedder.embeddings) > 0.5


def share(neuron: str, label: str) -> float:
    """The share of a neuron's exemplars that the label is true of, word by word."""
    wrong = shown[exemplars[neuron]] & ~lexicon.allowed_words(values_of(label))
    return float(np.mean(~wrong.any(axis=1)))


shares = {neuron: share(neuron, label) for neuron, label in labels.items()}
chance = np.mean(
    [np.mean(~(shown & ~lexicon.allowed_words(values_of(label))).any(axis=1)) for label in labels.values()]
)
print(f"true of {np.mean(list(shares.values())):.0%} of the exemplars, and of {chance:.0%} of all pictures; ", end="")
for least in (10, 8, 5):
    print(f"of {least} or more of the ten: {sum(value * 10 > least - 0.5 for value in shares.values())}", end="; ")
print(f"{len(shares)} neurons")

width, height = 3 * SIDE + 8, 3 * SIDE + TEXT + 8
sheet = Image.new("RGB", (COLUMNS * width, -(-len(labels) // COLUMNS) * height), "white")
draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
for place, (neuron, label) in enumerate(labels.items()):
    left, top = place % COLUMNS * width, place // COLUMNS * height
    pictures = world.probes.whole.images(np.array(exemplars[neuron][:SHOWN]))
    for i, picture in enumerate(pictures):
        small = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(small, (left + i % 3 * SIDE, top + i // 3 * SIDE))
    text = "\n".join([f"{neuron}  {shares[neuron]:.0%}", *textwrap.wrap(label, 24)[:2]])
    draw.multiline_text((left + 2, top + 3 * SIDE + 2), text, "black", font, spacing=1)
sheet.quantize(256).save(Path(__file__).parent / "real-network.png", optimize=True)
