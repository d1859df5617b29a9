"""Name neurons of a real network with several agents, judge the labels, and put everything into one file to share.

    PYTHONPATH=. python benchmarks/real.py --stack "turbo probe.images=photos" --out results/real

It needs a GPU, the models of `turbo` (`dnr doctor --load` downloads them), a language model, and some thousand
photographs. It names 64 neurons of ResNet-50 by the published loops `dnd` and `dnr`, by the learned policy, and by
`promise`, which draws nothing. Stop it at any time; the same command goes on. OUT/share.zip has the tables, the report
with its pictures, the settings, the versions of all packages, and the time and the GPU memory that each agent took. It
has no key, and no path of this machine.
"""

from __future__ import annotations

import html
import json
import os
import platform
import sys
import time
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import tyro

from dnr_env import DnRError, Rules, load_stack
from dnr_env.agents.registry import check_agents
from dnr_env.evaluation.compare import Contestant, contestants, optimal_values, play_all
from dnr_env.evaluation.doctor import examine
from dnr_env.evaluation.folder import rules_noted, settle
from dnr_env.evaluation.outcome import write_outcome
from dnr_env.evaluation.plan import plan
from dnr_env.evaluation.results import Record, Results
from dnr_env.files import append_lines, read_lines, write_atomically
from dnr_env.registry import read_spec
from dnr_env.scenes.config import ScenesConfig
from dnr_env.shapes.config import ShapesConfig
from dnr_env.stack import Stack

_PACKAGES = (
    "dnr-env", "torch", "torchvision", "transformers", "diffusers", "open_clip_torch", "timm", "openai", "numpy",
    "huggingface_hub",
)  # fmt: skip
_SECRETS = ("OPENAI_API_KEY", "HF_TOKEN")
_TEXTS = (".md", ".csv", ".json", ".jsonl", ".txt", ".html")


@dataclass(frozen=True)
class Options:
    """Name neurons of a real network with several agents, judge the labels, and make one file to share."""

    stack: str
    """The models and the images, as in "turbo probe.images=photos"."""
    out: Path = Path("results/real")
    """The folder of the results. What it already holds is not done again."""
    neurons: str = "layer4:0-63"
    """The neurons to name."""
    agents: tuple[str, ...] = ("dnd", "dnr", "learned", "promise")
    """Who names them. The others are compared with the last one."""
    seeds: tuple[int, ...] = (1,)
    """The seeds of the episodes."""
    budget: int = 100
    """The images that an agent may draw after its first ones."""


def run(options: Options) -> Path:
    """Do what is not done yet, write tables and report, and return the file to share."""
    check(options.stack)
    stack, rules, players = load_stack(options.stack), Rules(budget=options.budget), contestants(options.agents)
    neurons = stack.neurons.named(options.neurons)
    check_agents(stack, [player.agent for player in players])
    stack.require("real.py", ("embedder", "judge", "captioner", "generator"))
    settle(options.out, stack, {"user_concepts": None, **rules_noted(rules)})

    bounds = [line for player in players for line in (player.name, *plan_lines(options, player, rules), "")]
    write_atomically(options.out / "plan.txt", "\n".join(bounds).encode())
    write_atomically(options.out / "versions.json", (json.dumps(versions(), indent=2) + "\n").encode())
    records = [record for player in players for record in play(stack, player, neurons, rules, options)]
    results = Results(records, optimal_values(stack, neurons, options.seeds, rules))
    print(write_outcome(results, stack, options.neurons, rules, options.out))
    return bundle(options.out, private(options))


def check(spec: str) -> None:
    """Print what the doctor finds.

    Raises:
        DnRError: something is missing.
    """
    findings = list(examine(spec, load=False))
    print("\n".join(map(str, findings)), flush=True)
    if missing := [finding.name for finding in findings if not finding.fine]:
        raise DnRError(f"`stack` must name models that can be loaded (got {spec!r}, which lacks {', '.join(missing)})")


def plan_lines(options: Options, player: Contestant, rules: Rules) -> list[str]:
    """What the agent takes at most."""
    return list(plan(options.stack, player.agent, options.neurons, rules).lines())


def play(stack: Stack, player: Contestant, neurons: list[str], rules: Rules, options: Options) -> list[Record]:
    """Let one agent name the neurons, and note its seconds, its images and the GPU memory."""
    import torch

    path, before, begin = options.out / "results.jsonl", stack.tally(), time.perf_counter()
    known = len(read_lines(path))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    records = play_all(stack, [player], neurons, options.seeds, path, rules)
    if played := len(read_lines(path)) - known:
        peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else None
        took = {"agent": player.name, "episodes": played, "seconds": time.perf_counter() - begin, "peak_gib": peak}
        append_lines(options.out / "times.jsonl", [{**took, "before": before, "after": stack.tally()}])
    return records


def versions() -> dict[str, str]:
    """The packages and the device."""
    import torch

    found = {"python": platform.python_version(), "system": platform.system()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found["gpu"] = ", ".join(f"{card.name} {card.total_memory / 2**30:.0f} GiB" for card in cards) or "none"
    return found


def private(options: Options) -> dict[str, str]:
    """The paths of this machine that results can name, each with what stands for it in the file to share."""
    _, config = read_spec(options.stack)
    images = None if isinstance(config, ShapesConfig | ScenesConfig) else config.probe.images
    places = {str(Path.home()): "~", str(Path.cwd()): ".", str(options.out.resolve()): "OUT"}
    if images and Path(images).exists():
        places |= {str(Path(images).resolve()): "IMAGES", str(Path(images).absolute()): "IMAGES"}
    # A container may have / as its home, and every text has that.
    named = [place for place in places.items() if place[0] != Path(place[0]).anchor]
    return dict(sorted(named, key=lambda place: -len(place[0])))


def bundle(folder: Path, places: dict[str, str]) -> Path:
    """Write FOLDER/share.zip.

    Args:
        folder: holds the results.
        places: texts to replace, the longest first.

    Raises:
        DnRError: a file holds a key.
    """
    share = folder / "share.zip"
    parts = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != share and path.name[0] != "."]
    with zipfile.ZipFile(share, "w", zipfile.ZIP_DEFLATED) as file:
        for path in parts:
            data = path.read_bytes()
            if path.suffix in _TEXTS:
                text = data.decode()
                for place, stand_in in places.items():
                    for form in (place, json.dumps(place)[1:-1], html.escape(place)):
                        text = text.replace(form, stand_in)
                data = text.encode()
            if any(os.environ.get(name, "\0").encode() in data for name in _SECRETS):
                share.unlink()
                raise DnRError(f"nothing is shared, because {path} holds a key")
            # With the same date in every run, the same results make the same file.
            file.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), data, zipfile.ZIP_DEFLATED)
    return share


def main() -> None:
    """Read the options and run."""
    try:
        share = run(tyro.cli(Options))
    except DnRError as error:
        sys.exit(f"real.py: {error}")
    print(f"share this: {share} ({share.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
