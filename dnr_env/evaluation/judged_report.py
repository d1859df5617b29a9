"""The page of labels that were given: their means, paired differences, and each label with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dnr_env.evaluation.exemplars import exemplar_pictures
from dnr_env.evaluation.judge import judge_images
from dnr_env.evaluation.labelling import Record
from dnr_env.evaluation.pictures import Album
from dnr_env.evaluation.report import MOST, drawings, write_report
from dnr_env.evaluation.statistics import Interval
from dnr_env.evaluation.summary import METRICS, Mean, Paired
from dnr_env.stack import Stack

NAMES = {
    "auc": "AUC",
    "mad": "MAD",
    "activation_rate": "activation rate",
    "simulation": "simulation",
    "judge_simulation": "simulation, judge's embedder",
    "value": "value",
    "judge_value": "value, judge's embedder",
    "f1": "F1 with the formula",
}


def shown_interval(interval: Interval) -> str:
    """An estimate with its interval as text."""
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


FEWEST = 6
"""The fewest neurons whose interval is shown without a warning."""


def counted(number: int, noun: str) -> str:
    """A number of things, such as "1 neuron" or "2,000 neurons"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def warning(means: Sequence[Mean], differences: Sequence[Paired]) -> str:
    """A sentence on intervals that come from too few neurons; "" if there are none.

    A bootstrap of n neurons gives its smallest p-value whenever all differences have one sign, which happens by chance
    with probability 2^(1-n): with five neurons more often than 5%.
    """
    if all(mean.labels >= FEWEST for mean in means) and all(one.neurons >= FEWEST for one in differences):
        return ""
    return f"Intervals and p-values from fewer than {FEWEST} neurons understate the variation between neurons."


def _unbroken(interval: Interval) -> str:
    return shown_interval(interval).replace(", ", ",\N{NO-BREAK SPACE}")


def write_judged_report(
    stack: Stack,
    records: Sequence[Record],
    means: Sequence[Mean],
    differences: Sequence[Paired],
    score: str,
    path: Path,
) -> None:
    """One page: the sources side by side, and the labels of the first MOST neurons with exemplars and drawings.

    Args:
        stack: what judged.
        records: of `judge_labels`, each with its source.
        means: of every source.
        differences: of the sources; none for a single one.
        score: the score of the values.
        path: of the page.
    """
    sources = list(dict.fromkeys(record["source"] for record in records))
    of = {(mean.source, mean.metric): mean for mean in means}
    metrics = [name for name in METRICS if any(mean.metric == name for mean in means)]
    neurons = list(dict.fromkeys(record["neuron"] for record in records))
    album, by_neuron = Album(path.parent), {neuron: list[Record]() for neuron in neurons}
    for record in records:
        by_neuron[record["neuron"]].append(record)
    cards = [
        {
            "neuron": neuron,
            "truth": stack.known.truth(neuron),
            "alive": bool(stack.probe.alive[stack.neurons.index(neuron)]),
            "exemplars": exemplar_pictures(stack, neuron, album),
            "labels": [
                {**record, "drawings": drawings(stack, record["label"], record["block"], album)}
                for record in by_neuron[neuron]
            ],
        }
        for neuron in neurons[:MOST]
    ]
    values = {
        "title": "Judged labels",
        "stack": stack.name,
        "score": score,
        "sources": sources,
        "labels": counted(len(records), "label"),
        "neurons": counted(len(neurons), "neuron"),
        "warning": warning(means, differences),
        "more": len(neurons) > MOST,
        "judge_images": judge_images(stack),
        "headings": [NAMES[name] for name in metrics],
        "means": [
            [
                source,
                f"{sum(record['source'] == source for record in records):,}",
                *(_unbroken(of[source, name].interval) if (source, name) in of else "–" for name in metrics),
            ]
            for source in sources
        ],
        "differences": [
            [
                f"{d.source} less {d.other}",
                NAMES[d.metric],
                f"{d.neurons:,}",
                _unbroken(d.difference),
                f"{d.difference.adjusted:.2g}",
            ]
            for d in differences
        ],
        "cards": cards,
    }
    write_report(path, "judged.html", values)
