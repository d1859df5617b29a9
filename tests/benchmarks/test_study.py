"""The study: its commands are valid, finished steps are skipped, and its tables agree with the records."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sceptic
import study
import study_comparisons
import study_report
import study_settings
import study_steps
import tyro

from dnr_env import DnRError, load_stack
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.training import options as options_module
from dnr_env.agents.training import train
from dnr_env.agents.training.set_policy import acting_network
from dnr_env.cli import commands
from dnr_env.cli.options import Compare
from dnr_env.evaluation.compare import contestants
from dnr_env.evaluation.results import f1_score
from dnr_env.files import append_lines

ROOT = Path(__file__).parents[2]

OPTIONS = study_steps.Options(out=Path("out"), seeds=2, episodes=4)
FAMILIES = {**study_settings.EVERYWHERE, **study_settings.IN_SHAPES}
RULES = ["until:lower:0.5:1:5@informed", "until:mean:0.5:1:5@informed"]
CHOSEN = study_steps.Chosen({name: agents[0] for name, agents in FAMILIES.items()}, "gradient:8:4:1.5:8", RULES)


def test_every_training_is_one_that_train_would_take() -> None:
    steps = study_steps.trainings(OPTIONS)
    assert len(steps) == 2 + len(study_settings.VARIANTS)
    assert len({step.name for step in steps}) == len(steps)
    for step in steps:
        options = tyro.cli(options_module.Options, args=step.arguments)
        options_module.check(options)
        assert options.mutator == "informed"
        assert len(options.seeds) == 1
        assert options.steps == (OPTIONS.steps if "policy" in step.name else OPTIONS.variant_steps)


def test_every_comparison_is_one_that_evaluate_would_take() -> None:
    for step in study_steps.evaluations(OPTIONS, CHOSEN):
        command, *arguments = step.arguments
        assert command == "compare"
        options = tyro.cli(Compare, args=arguments)
        stack = load_stack(options.stack)
        assert stack.neurons.named(options.neurons)
        assert "oracle" not in options.agents or stack.known.optimum(options.score)
        loops = [agent for agent in options.agents if "runs" not in agent]
        assert len(contestants(loops)) == len(loops) if loops else True
        assert options.rules.score == options.score
        first = OPTIONS.episodes + 1  # tuning has seen the drawings of those before
        assert options.seeds == tuple(range(first, first + len(options.seeds)))


def test_the_rules_of_the_sceptic_are_tuned_on_the_neurons_that_loops_are(tmp_path: Path) -> None:
    step = study_steps.simple_rules(replace(OPTIONS, out=tmp_path))
    options = tyro.cli(sceptic.Options, args=step.arguments)
    assert options.validation == study_settings.split("validation")
    assert (options.seeds, options.against) == (OPTIONS.episodes, ())
    options.out.mkdir()
    (options.out / "rules.json").write_text(json.dumps([{"agent": rule, "gain": 0.5} for rule in RULES]))
    assert study_steps.read_rules(tmp_path) == RULES
    found = {step.name: step.arguments for step in study_steps.evaluations(OPTIONS, CHOSEN)}
    assert RULES[0] in found["test-shapes"]


def test_a_step_runs_once_and_again_when_it_changes(tmp_path: Path) -> None:
    options = replace(OPTIONS, out=tmp_path)
    for folder in ("done", "logs"):
        (tmp_path / folder).mkdir()
    mark = tmp_path / "mark"
    script = tmp_path / "script.py"
    script.write_text(f"import sys\nopen({str(mark)!r}, 'a').write(sys.argv[1])\nsys.exit(sys.argv[1] == 'bad')")
    lock = study.take_lock(tmp_path)
    for argument in ("a", "a", "b", "a"):
        study.run(options, study_steps.Step("one", str(script), (argument,)), lock)
    assert mark.read_text() == "aba"
    (tmp_path / "seed-0").mkdir()
    training = study_steps.Step("two", str(script), ("c",), anew=tmp_path / "seed-0")
    study.run(options, training, lock)
    assert not (tmp_path / "seed-0").exists()  # what a training that was cut off has left
    (tmp_path / "seed-0").mkdir()
    study.run(options, training, lock)
    assert (tmp_path / "seed-0").exists()  # what one that is done has left
    assert mark.read_text() == "abac"
    policies(tmp_path, (0.1,))  # not what was there when it was done
    study.run(options, training, lock)
    assert mark.read_text() == "abacc"
    with pytest.raises(DnRError, match=r"the step bad failed \(see .*bad\.log\)"):
        study.run_all(options, [study_steps.Step("bad", str(script), ("bad",))], "trying", lock)
    assert not (tmp_path / "done" / "bad").exists()


def test_a_comparison_runs_again_when_a_policy_is_another(tmp_path: Path) -> None:
    options = replace(OPTIONS, out=tmp_path)
    for folder in ("done", "logs", "one"):
        (tmp_path / folder).mkdir()
    mark, script, run = tmp_path / "mark", tmp_path / "script.py", str(tmp_path / "run")
    script.write_text(f"open({str(mark)!r}, 'a').write('x')")
    step = study_steps.Step("one", str(script), (), study_comparisons.Comparison(tmp_path / "one", ("stop", run), (1,)))
    lock = study.take_lock(tmp_path)
    policies(tmp_path / "run", (0.1, 0.2))
    for _ in range(2):
        study.run(options, step, lock)
    assert mark.read_text() == "x"
    fingerprint = LearnedAgent.load(tmp_path / "run" / "seed-1").fingerprint
    old = {"agent": "run", "member": "seed-1", "policy": fingerprint, "neuron": "layer4:1", "seed": 1, "net": 0.5}
    append_lines(tmp_path / "one" / "results.jsonl", [old])
    assert step.comparison
    assert len(step.comparison.records()) == 1
    weights = tmp_path / "run" / "seed-1" / "policy.safetensors"
    weights.write_bytes((tmp_path / "run" / "seed-0" / "policy.safetensors").read_bytes())
    study.run(options, step, lock)
    assert mark.read_text() == "xx"
    assert step.comparison.records() == []  # of the policy that was there before


def test_a_study_of_other_options_needs_another_folder(tmp_path: Path) -> None:
    options = replace(OPTIONS, out=tmp_path)
    study.settle(options)
    study.settle(replace(options, workers=7))
    with pytest.raises(DnRError, match="`out` must be a new folder or the folder of a study"):
        study.settle(replace(options, seeds=1))
    for name in ("workers", "episodes", "steps"):
        with pytest.raises(DnRError, match=rf"`{name}` must be at least 1 \(got 0\)"):
            study.check(replace(options, **dict[str, Any]({name: 0})))
    (tmp_path / "options.json").write_text("{")
    with pytest.raises(DnRError, match=r"whose options\.json differs"):
        study.settle(options)


def test_nobody_begins_while_a_step_of_a_killed_study_runs(tmp_path: Path) -> None:
    """The step's process holds the lock after the study has exited."""
    (tmp_path / "done").mkdir()
    (tmp_path / "logs").mkdir()
    sleeper = tmp_path / "sleeper.py"
    sleeper.write_text("print('here', flush=True)\ninput()")
    script = f"""
import subprocess, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "benchmarks")!r}]
from pathlib import Path
import study
lock = study.take_lock(Path({str(tmp_path)!r}))
step = subprocess.Popen([sys.executable, {str(sleeper)!r}], stdin=0, pass_fds=[lock])
"""
    begun = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with begun:
        assert begun.stdin
        assert begun.stdout
        assert begun.stdout.readline() == "here\n"
        begun.wait(60)  # the study has gone, the step is still there
        with pytest.raises(
            DnRError,
            match="`out` must be a folder in which no other study is running",
        ):
            study.take_lock(tmp_path)
        begun.stdin.write("\n")
        begun.stdin.flush()
        begun.stdout.read()  # until the step has gone too
    study.take_lock(tmp_path)


def test_loops_are_chosen_by_their_mean_net_value_in_both_worlds(tmp_path: Path) -> None:
    rest = {"member": "", "policy": "", "neuron": "layer4:1", "seed": 1}
    good = {family: agents[-1] for family, agents in FAMILIES.items()}
    worlds = []
    for world, families in (("shapes", FAMILIES), ("scenes", study_settings.EVERYWHERE)):
        records: list[dict[str, Any]] = []
        for family, agents in families.items():
            for i, agent in enumerate(agents):
                net = 1.0 if agent == good[family] else 0.01 * i
                # Far better in the world with more records, and worse on average over the worlds.
                net += {"improve:4": {"shapes": 2.0, "scenes": -2.5}}.get(agent, {}).get(world, 0.0)
                records += [{**rest, "agent": agent, "net": net}] * (5 if world == "shapes" else 1)
        records.append({**rest, "agent": next(iter(families.values()))[0], "seed": 2, "net": 9.0})  # not asked for
        (tmp_path / world).mkdir()
        append_lines(tmp_path / world / "results.jsonl", records)
        every = tuple(agent for agents in families.values() for agent in agents)
        worlds.append(study_comparisons.Comparison(tmp_path / world, every, (1,)))
    chosen = study.choose(worlds, RULES)
    assert chosen.families == good
    assert chosen.rule == good["shortlist"]  # the first of those that are equally good
    assert chosen.sceptic == RULES


def policies(folder: Path, returns: tuple[float, ...]) -> None:
    """Save untrained policies with the given validation returns."""
    options = options_module.Options(
        out=folder, mutator="informed", stack=("shapes",), score=("log_k",), user_concepts=("none",),
        image_cost=(0.0005,), budget=(100,), envs=2,
    )  # fmt: skip
    for seed, value in enumerate(returns):
        network = acting_network(train.make_model(options, seed))
        card = {**options_module.options_json(options), "validation_return": value}
        LearnedAgent("policy", network, options.moves, card).save(folder / f"seed-{seed}")


def test_the_policy_that_is_best_by_validation_is_shipped(tmp_path: Path) -> None:
    policies(tmp_path / "runs" / "policy", (0.1, 0.3, 0.2))
    assert study.ship(tmp_path, tmp_path / "learned") == "seed-1"
    shipped = LearnedAgent.load(tmp_path / "learned")
    assert shipped.fingerprint == LearnedAgent.load(tmp_path / "runs" / "policy" / "seed-1").fingerprint
    assert shipped.card["validation_return"] == 0.3
    study.sign(tmp_path / "learned" / "policy.json", ("python", "a b"), {"test": {"return": [0.1, 0.0, 0.2]}})
    signed = LearnedAgent.load(tmp_path / "learned")
    assert signed.card["command"] == "python 'a b'"
    assert signed.card["evaluation"]["test"]["return"] == [0.1, 0.0, 0.2]
    assert signed.fingerprint == shipped.fingerprint


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a study of a few neurons, and return its folder."""
    out = tmp_path_factory.mktemp("study")
    policies(out / "runs" / "policy", (0.1, 0.2))
    policy = str(out / "runs" / "policy")
    small = "planted:3,planted:7,layer4:5"

    found = {}

    def compare(name: str, agents: tuple[str, ...], **options: Any) -> None:
        commands.compare(
            Compare(out=out / name, agents=agents, seeds=(1, 2), **{"neurons": small, "budget": 15, **options})
        )
        found[name] = study_comparisons.Comparison(out / name, agents, (1, 2)).read()

    agents = ("stop", "halving:10", "rounds:1@informed", "clip-dissect", "promise", "oracle", policy)
    for world in study_settings.WORLDS:
        compare(f"test-{world}", agents, stack=world)
        compare(f"variants-{world}", ("stop", policy), stack=world)
        compare(f"user-{world}-none", ("stop", policy), stack=world)
        compare(f"user-{world}-1", ("stop", policy), stack=world, user_concepts="simulated:1")
    compare("sceptic", ("promise", *RULES, policy))
    compare("transfer-planted", agents, neurons="planted:3,planted:7")
    compare("transfer-scenes-planted", agents, stack="scenes", neurons="planted:3,planted:26,planted:55")
    compare("score-auc", ("rounds:1@informed",), score="auc")
    chosen = study_steps.Chosen(dict.fromkeys(FAMILIES, "clip-dissect"), "rounds:1@informed", RULES)
    study_report.write_report(found, out / "report", chosen, "seed-1")
    (out / "grades.json").write_text(json.dumps(study_report.graded(found, "seed-1")))
    return out


def rows(path: Path) -> dict[str, dict[str, str]]:
    """Read a Markdown table, keyed by its first column."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in path.read_text().splitlines() if "|" in line
    ]
    return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}


@pytest.mark.parametrize("world", study_settings.WORLDS)
def test_tables_say_what_the_records_say(outcome: Path, world: str) -> None:
    records = [json.loads(line) for line in (outcome / f"test-{world}" / "results.jsonl").read_text().splitlines()]
    table = rows(outcome / "report" / f"test-{world}.md")
    assert table.keys() == {r["agent"] for r in records} | {"learned"}

    def mean(key: str, agent: str) -> float:
        values = [r[key] for r in records if r["agent"] == agent]
        return float(sum(values) / len(values))

    for agent in table.keys() - {"learned"}:
        assert table[agent]["net value"].startswith(f"{mean('net', agent):.4f} [")
        assert table[agent]["images drawn"] == f"{mean('images', agent):.1f}"
        bill = mean("value", agent) - 0.00005 * mean("images", agent)
        assert mean("net", agent) == pytest.approx(bill)
        evaluation = mean("reward_images", agent) + mean("judge_images", agent)
        assert table[agent]["images of reward and judge"] == f"{evaluation:.0f}"
    assert table["promise"]["images drawn"] == "0.0"
    assert table["stop"]["images drawn"] == "0.0"
    ladder = rows(outcome / "report" / f"ladder-{world}.md")
    assert list(ladder) == ["promise", "rounds:1@informed", "policy", "hindsight"]
    assert ladder["promise"]["net value"] == table["promise"]["net value"]
    step = mean("net", "policy") - mean("net", "rounds:1@informed")
    assert float(ladder["policy"]["more than the rung below"].split()[0]) == pytest.approx(step, abs=1e-4)
    shipped = [r["net"] for r in records if r["member"] == "seed-1"]
    assert table["learned"]["net value"].startswith(f"{sum(shipped) / len(shipped):.4f} [")
    apart = rows(outcome / "report" / f"differences-{world}.md")
    assert apart.keys() == table.keys() - {"policy", "learned"}
    for agent, row in apart.items():
        assert row["net value"].startswith(f"{mean('net', 'policy') - mean('net', agent):.4f} [")
    assert (
        f"Holm-corrected for {len(apart)} comparisons" in (outcome / "report" / f"differences-{world}.md").read_text()
    )
    assert rows(outcome / "report" / f"differences-promise-{world}.md").keys() == table.keys() - {"promise", "learned"}
    other = rows(outcome / "report" / f"variants-{world}.md")["stop"]
    variants = [json.loads(line) for line in (outcome / f"variants-{world}" / "results.jsonl").read_text().splitlines()]
    nets = {a: [r["net"] for r in variants if r["agent"] == a] for a in ("stop", "policy")}
    difference = sum(nets["stop"]) / len(nets["stop"]) - sum(nets["policy"]) / len(nets["policy"])
    assert float(other["net value less `policy`"].split()[0]) == pytest.approx(difference, abs=1e-4)
    named = rows(outcome / "report" / f"attributes-{world}.md")
    assert named["policy"]["`policy` less it"] == "" == named["learned"]["`learned` less it"]
    assert named["promise"]["images drawn"] == "0.0"
    users = (outcome / "report" / f"with-user-{world}.md").read_text()
    assert [line.split("|")[1].strip() for line in users.splitlines()[2:]] == ["none", "none", "1", "1"]


def test_the_other_tables_have_their_rows(outcome: Path) -> None:
    assert rows(outcome / "report" / "sceptic.md").keys() == {"promise", *RULES}
    assert rows(outcome / "report" / "scores.md").keys() == {"auc"}
    test = rows(outcome / "report" / "test-shapes.md")
    bound = rows(outcome / "report" / "bound.md")
    assert bound["halving:10"]["images drawn"] == test["halving:10"]["images drawn"]


def test_transfer_names_the_best_other_in_hindsight(outcome: Path) -> None:
    nets = {agent: float(row["planted"]) for agent, row in rows(outcome / "report" / "everywhere.md").items()}
    row = rows(outcome / "report" / "transfer.md")["planted"]
    others = {agent: net for agent, net in nets.items() if agent not in ("policy", "oracle", "promise")}
    best = max(others.values())
    assert others[row["best other in hindsight"].split()[0]] == best
    for less, rival in (("`policy` less it", best), ("`policy` less `promise`", nets["promise"])):
        assert float(row[less].split()[0]) == pytest.approx(nets["policy"] - rival, abs=2e-4)
    assert rows(outcome / "report" / "transfer-shipped.md").keys() == {"planted", "scenes-planted"}


def test_names_are_counted_by_the_kind_of_the_formula(outcome: Path) -> None:
    path = outcome / "transfer-scenes-planted" / "results.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    table = rows(outcome / "report" / "by-kind-scenes.md")
    assert table.keys() == {r["agent"] for r in records} | {"learned"}

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    for agent in ("promise", "policy"):
        own = [r for r in records if r["agent"] == agent]
        one, union = ([r for r in own if r["neuron"] == f"planted:{number}"] for number in (3, 26))
        assert table[agent]["noun phrases (1)"] == f"{mean([f1_score(r) for r in one]):.3f}"
        named = mean([r["parts"] for r in union])
        assert table[agent]["unions (1)"] == f"{mean([f1_score(r) for r in union]):.3f}, {named:.2f}"
        several = mean([r["parts"] for r in own if r["neuron"] != "planted:3"])
        assert table[agent]["parts of unions and sums"].startswith(f"{several:.2f} [")


@pytest.mark.parametrize("world", study_settings.WORLDS)
def test_the_card_says_what_the_tables_say(outcome: Path, world: str) -> None:
    grades = json.loads((outcome / "grades.json").read_text())[f"test neurons of {world}"]
    shown = rows(outcome / "report" / f"test-{world}.md")["learned"]["net value"]
    assert shown == "{:.4f} [{:.4f}, {:.4f}]".format(*grades["net value"])
    f1 = rows(outcome / "report" / f"attributes-{world}.md")["learned"]["F1"]
    assert f1.startswith(f"{grades['F1'][0]:.3f} [")


def test_the_report_has_its_plots(outcome: Path) -> None:
    for name in ("differences", "profiles", "quality"):
        for world in study_settings.WORLDS:
            assert (outcome / "report" / f"{name}-{world}.png").read_bytes().startswith(b"\x89PNG")
