"""Time the same scripted actions in this checkout and in another one, in turns.

    PYTHONPATH=. python benchmarks/steps.py --before PATH

PATH is a checkout whose reset and MUTATE measure what they list, as they did up to commit 1a3c8fc. Here both draw
nothing, so KEEPs follow them until as many images are drawn. Both processes hold 64 episodes, and are timed once the
store holds all that they draw. Only one of them works at a time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

KEEP, MUTATE = 0, 1
EPISODES = 64
SCRIPTS: dict[str, tuple[str | None, Sequence[int], Sequence[int]]] = {
    "reset": (None, [], []),
    "reset, 40 images": (None, [], [KEEP] * 8),
    "KEEP": (None, [KEEP] * 12, [KEEP] * 12),
    "MUTATE, `evidence`": ("evidence", [MUTATE] * 12, [MUTATE, KEEP] * 12),
    "MUTATE, `informed`": ("informed", [MUTATE] * 12, [MUTATE, KEEP] * 12),
}
"""The mutator, and the actions of the other checkout and of this one. The reset is timed where a name begins so."""


@dataclass(frozen=True)
class Options:
    """Time scripted actions here and in another checkout."""

    before: Path
    """The other checkout."""
    rounds: int = 31
    """The number of times that each script is timed."""


def work(old: bool) -> None:
    """Answer each line, the name of a script, with the milliseconds of one play."""
    import gymnasium as gym

    made: dict[str, Any] = {}
    for name in map(str.strip, sys.stdin):
        mutator, *scripts = SCRIPTS[name]
        script = scripts[0] if old else scripts[1]
        if name not in made:
            made[name] = gym.make_vec("dnr_env:DnR/Refine-v0", num_envs=EPISODES, mutator=mutator)
        envs = made[name]
        begin = time.perf_counter()
        envs.reset(seed=0)
        begin = begin if name.startswith("reset") else time.perf_counter()
        for action in script:
            envs.step([action] * EPISODES)
        print(1000 * (time.perf_counter() - begin), flush=True)


def main(options: Options) -> None:
    """Time each script in both checkouts, in turns, and print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, side],
                env={**os.environ, "DNR_CACHE_DIR": f"{folder}/{side}", "PYTHONPATH": str(path.resolve())},
                cwd=path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for side, path in (("old", options.before), ("new", Path.cwd()))
        ]

        def play(worker: subprocess.Popen[str], name: str) -> float:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(f"{name}\n")
            worker.stdin.flush()
            return float(worker.stdout.readline())

        print("| Script | before, ms | now, ms | ratio |\n|---|---|---|---|")
        for name in SCRIPTS:
            times = [[play(worker, name) for worker in workers] for _ in range(options.rounds + 2)][2:]
            old, new = (statistics.median(column) for column in zip(*times, strict=True))
            print(f"| {name} | {old:.1f} | {new:.1f} | {new / old:.2f} |", flush=True)
        for worker in workers:
            worker.terminate()
            worker.wait()


if __name__ == "__main__":
    if sys.argv[1:] in (["old"], ["new"]):
        work(sys.argv[1] == "old")
    else:
        main(tyro.cli(Options))
