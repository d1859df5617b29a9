"""Sessions as tables, and as a Minari data set."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnr_env.agents.human.recorded import Recorded
from dnr_env.env.rules import Action, Rules
from dnr_env.env.spaces import action_space, observation_space
from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.files import csv_table, make_folder, write_atomically
from dnr_env.interfaces import Kind

DECISIONS = (
    *("annotator", "neuron", "again", "seed", "step", "event", "kind", "slot"),
    *("concept", "incumbent", "reward", "images"),
)
LABELS = ("annotator", "neuron", "again", "seed", "label", "images", "steps", "return", "seconds")


def tables(episodes: Sequence[Recorded], folder: Path, parquet: bool = False) -> list[Path]:
    """Write decisions.csv, a row for each step; labels.csv, a row for each neuron with a label; and labels-NAME.csv.

    The last are the labels of one annotator each, without those of repeated neurons, as `dnr judge` and `dnr rate`
    compare them.

    Args:
        episodes: of the sessions.
        folder: of the files.
        parquet: also write them as Parquet files.

    Raises:
        DnRError: a file cannot be written, or pyarrow is not installed.
    """
    make_folder(folder)
    decisions = [
        {
            "annotator": one.annotator,
            "neuron": one.neuron,
            "again": one.again,
            "seed": one.seed,
            "step": step,
            **_said(one.actions[step].tolist()),
            "concept": one.concepts[step],
            "incumbent": one.incumbents[step + 1],
            "reward": float(one.rewards[step]),
            "images": int(one.images[step + 1]),
        }
        for one in episodes
        for step in range(len(one.actions))
    ]
    labels = [
        {
            "annotator": one.annotator,
            "neuron": one.neuron,
            "again": one.again,
            "seed": one.seed,
            "label": one.label,
            "images": one.billed,
            "steps": len(one.actions),
            "return": one.total,
            "seconds": round(one.seconds, 1),
        }
        for one in episodes
        if one.label
    ]
    written = []
    for name, columns, rows in (("decisions", DECISIONS, decisions), ("labels", LABELS, labels)):
        files = {f"{name}.csv": csv_table(columns, rows)}
        if parquet:
            files[f"{name}.parquet"] = _parquet(columns, rows)
        for file, data in files.items():
            write_atomically(folder / file, data)
            written.append(folder / file)
    for name in dict.fromkeys(one.annotator for one in episodes if one.label):
        path = folder / f"labels-{name.replace('/', '-')}.csv"
        mine = [row for row in labels if row["annotator"] == name and not row["again"]]
        write_atomically(path, csv_table(LABELS, mine))
        written.append(path)
    return written


def _parquet(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bytes:
    with needed("parquet"):
        import pyarrow
        import pyarrow.parquet
    out = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({name: [row[name] for row in rows] for name in columns}), out)
    return bytes(out.getvalue().to_pybytes())


def _said(action: Sequence[int]) -> dict[str, Any]:
    """The event, the kind of a mutation, and the number of the candidate."""
    event = Action(action[0])
    return {
        "event": event.name.lower(),
        "kind": Kind(action[2]).name.lower() if event == Action.MUTATE else "",
        "slot": None if event == Action.ADD else action[1] + 1,
    }


def minari_dataset(episodes: Sequence[Recorded], dataset_id: str) -> Any:
    """Make a data set of the library Minari, in its folder. Infos hold the texts.

    Args:
        episodes: with steps, and all with observations of the same sizes.
        dataset_id: its name, such as "dnr/people-v0".

    Raises:
        DnRError: there is such a data set, the name is no name of one, or Minari is not installed.
    """
    with needed("minari"):
        import minari
        from minari.data_collector import EpisodeBuffer
    n_slots, dim = episodes[0].observations["concepts"].shape[1:]
    rules = Rules(n_slots=n_slots)
    buffers = [
        EpisodeBuffer(
            id=number,
            seed=one.seed,
            observations=one.observations,
            actions=one.actions,
            rewards=one.rewards.tolist(),
            terminations=[step == len(one.rewards) - 1 for step in range(len(one.rewards))],
            truncations=[False] * len(one.rewards),
            infos={
                "annotator": _texts([one.annotator] * len(one.incumbents)),
                "neuron": _texts([one.neuron] * len(one.incumbents)),
                "label": _texts(one.incumbents),
                "concept": _texts(["", *one.concepts]),
            },
        )
        for number, one in enumerate(episodes)
    ]
    try:
        with warnings.catch_warnings():  # an author and a link to code are for who publishes the data set
            warnings.simplefilter("ignore", UserWarning)
            return minari.create_dataset_from_buffers(
                dataset_id,
                buffers,
                observation_space=observation_space(rules, dim),
                action_space=action_space(rules, "edits"),
                data_format="hdf5",
                description="Sessions of people in DnR/RefineEdits-v0, rewards on held-out images",
            )
    except ValueError as error:
        raise DnRError(f"`minari` must be the name of a new data set, such as dnr/people-v0 ({error})") from None


def _texts(texts: Sequence[str]) -> Any:
    return np.array([text.encode() for text in texts])
