"""Name what hidden neurons fire for, and compare the agents that name them.

    dnr label --neurons layer4:0-31 --out results/layer4
    dnr compare --agents promise rounds:1@informed runs/ppo --neurons test --seeds 1 2 --out results/test
    dnr site results/layer4 --out site
    dnr exemplars --stack "turbo probe.images=photos generator=null captioner=null embedder=null" --out results/look
    dnr judge mine.csv theirs.csv --out results/mine
    dnr rank --layer layer4 --out results/rank
    dnr play --neurons layer4:7 --out results/me.jsonl
    dnr serve --neurons layer4:0-9 --out results/people
    dnr export-sessions results/people --out results/people/tables
    dnr rate mine.csv theirs.csv --annotator ann bob --out results/rating
    dnr ratings results/rating
    dnr plan --stack "turbo probe.images=photos" --neurons layer4:0-63
    dnr calibrate --stack "turbo probe.images=photos" --out turbo.json
    dnr doctor --stack "turbo probe.images=photos"
    dnr store

`label`, `compare`, `rank`, `judge`, `play`, `serve`, `rate`, `calibrate` and `dnr-train` resume: run the same command
again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

import tyro

from dnr_env.cli import commands
from dnr_env.cli.ends import ending
from dnr_env.cli.options import (
    Calibrate,
    Compare,
    Doctor,
    Exemplars,
    ExportSessions,
    Judge,
    Label,
    Plan,
    Play,
    Rank,
    Rate,
    Ratings,
    Serve,
    Site,
    Store,
)

COMMANDS: Mapping[str, tuple[type, Callable[[Any], None]]] = {
    "label": (Label, commands.label),
    "compare": (Compare, commands.compare),
    "rank": (Rank, commands.rank),
    "exemplars": (Exemplars, commands.exemplars),
    "judge": (Judge, commands.judge),
    "play": (Play, commands.play),
    "serve": (Serve, commands.serve),
    "rate": (Rate, commands.rate),
    "ratings": (Ratings, commands.ratings),
    "export-sessions": (ExportSessions, commands.export_sessions),
    "site": (Site, commands.site),
    "plan": (Plan, commands.plan),
    "calibrate": (Calibrate, commands.calibrate),
    "doctor": (Doctor, commands.doctor),
    "store": (Store, commands.store),
}

RESUMING = (Label, Compare, Rank, Judge, Play, Serve, Rate)
"""Options of the commands that go on from the file or folder `out`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `dnr`."""
    kinds: Any = reduce(or_, (Annotated[kind, tyro.conf.subcommand(name)] for name, (kind, _) in COMMANDS.items()))
    options: Any = tyro.cli(kinds, prog="dnr", description=__doc__, args=arguments)
    run = next(run for kind, run in COMMANDS.values() if type(options) is kind)
    with ending("dnr", options.out if isinstance(options, RESUMING) else None):
        run(options)


if __name__ == "__main__":
    main()
