"""The commands. Each computes with the API, writes files, and prints where they are."""

from __future__ import annotations

import sys
from functools import partial
from itertools import chain, groupby
from operator import itemgetter

import numpy as np

from dnr_env import api
from dnr_env.agents.human.recorded import header_of
from dnr_env.agents.human.session import Session
from dnr_env.agents.human.terminal import play as play_in_terminal
from dnr_env.agents.registry import check_agents, make_agent
from dnr_env.cli import options as given
from dnr_env.env.users import user_source
from dnr_env.errors import DnRError
from dnr_env.evaluation.calibrating import calibrated
from dnr_env.evaluation.doctor import examine
from dnr_env.evaluation.failures import check_labels, origins, reasons
from dnr_env.evaluation.folder import rules_noted, settle, users_noted
from dnr_env.evaluation.judged_report import counted
from dnr_env.evaluation.plan import plan as plan_labelling
from dnr_env.evaluation.ranking import shown_ranking
from dnr_env.evidence.calibration_check import table
from dnr_env.evidence.inventory import forget, holdings, lines
from dnr_env.evidence.store import Store, cache_dir
from dnr_env.files import make_folder, read_lines, read_settings, read_text, write_atomically
from dnr_env.registry import load
from dnr_env.tables import Labels


def label(options: given.Label) -> None:
    """Label neurons, and write the tables and the report."""
    labels = api.label(
        neurons=options.neurons,
        stack=options.stack,
        agent=options.agent,
        rules=options.rules,
        seed=options.seed,
        user_concepts=options.user_concepts,
        out=options.out,
        most_failed=options.most_failed,
    )
    tally = labels.stack.tally()  # before the report draws its own pictures
    report = labels.save(options.out)
    wanted = set(labels.stack.neurons.named(options.neurons))  # the folder may hold others
    asked = [record for record in labels.records if record["neuron"] in wanted]
    failed = [record["failure"] for record in asked if record["failure"]]
    print(f"{sum(not one.failure for one in labels)} labels{_mean(labels)}; {tally}")
    print(f"origins: {origins(labels.records)}")
    if failed:
        print(f"failed: {len(failed)} of {len(asked)} neurons: {reasons(failed)}; the same command tries them again")
    print(f"report: {report}")
    check_labels(asked, options.most_failed)


def _mean(labels: Labels) -> str:
    values = [one.value for one in labels if one.value is not None]
    return f", mean value {np.mean(values):.3f}" if values else ""


def rank(options: given.Rank) -> None:
    """Label a layer, and rank its neurons with every scoring method."""
    ranking = api.rank(
        neurons=load(options.stack).neurons.named(options.layer, "layer"),
        stack=options.stack,
        agent=options.agent,
        rules=options.rules,
        seed=options.seed,
        out=options.out,
    )
    path = ranking.save(options.out)
    print(shown_ranking(ranking.rows))
    print(f"all {len(ranking)} neurons: {path}")


def exemplars(options: given.Exemplars) -> None:
    """Find exemplars, and write the table and the page."""
    found = api.exemplars(neurons=options.neurons, stack=options.stack)
    page = found.save(options.out)
    print(f"{len(found)} images of {len(found.neurons)} neurons: {options.out / 'exemplars.csv'}")
    print(f"page: {page}")


def judge(options: given.Judge) -> None:
    """Judge labels, and write the tables and the report."""
    judged = api.judge(
        layer=options.layer,
        labels=options.labels,
        neurons=options.neurons,
        stack=options.stack,
        rules=options.rules,
        seed=options.seed,
        out=options.out,
    )
    tally = judged.stack.tally()  # before the report draws its own pictures
    report = judged.save(options.out)
    print(judged)
    print(f"{len(judged)} labels judged; {tally}")
    print(f"report: {report}")


def compare(options: given.Compare) -> None:
    """Run the agents, judge their labels, and write the table, the plots and the report."""
    # SciPy and Matplotlib are slow to import, and only this command needs them.
    from dnr_env.agents.human.contest import PREFIX, records_of_people
    from dnr_env.evaluation.compare import contestants, optimal_values, play_all
    from dnr_env.evaluation.outcome import write_outcome
    from dnr_env.evaluation.results import Results

    stack, rules, out = load(options.stack), options.rules, options.out.expanduser()
    neurons, seeds = stack.neurons.named(options.neurons), api.usable_seeds("seeds", options.seeds)
    people = [spec for spec in options.agents if spec.startswith(PREFIX)]
    others = [spec for spec in options.agents if spec not in people]
    players = contestants(others) if others or not people else []
    check_agents(stack, [player.agent for player in players])
    # The return compares a label with the first candidate, which is captioned and drawn.
    stack.require("compare", ("embedder", "judge", "captioner", "generator"))
    user_source(options.user_concepts, stack)  # raises before anything is written
    settle(out, stack, {"user_concepts": users_noted(options.user_concepts), **rules_noted(rules)})
    by_people = {spec: records_of_people(spec, stack, neurons, seeds, rules) for spec in people}
    played = play_all(stack, players, neurons, seeds, out / "results.jsonl", rules, options.user_concepts)
    by_agents = (list(same) for _, same in groupby(played, itemgetter("agent")))  # in the order of `others`
    groups = [by_people[spec] if spec in people else next(by_agents) for spec in options.agents]
    results = Results(list(chain(*groups)), optimal_values(stack, neurons, seeds, rules))
    print(write_outcome(results, stack, options.neurons, rules, out))
    print(f"report: {out / 'report.html'}")


def play(options: given.Play) -> None:
    """Open or resume a session in the terminal."""
    log = options.out.expanduser()
    if options.neurons is None and log.is_file():
        neurons = header_of(log)["neurons"]  # whose order may be the annotator's own
    else:
        neurons = load(options.stack).neurons.named(options.neurons or "layer4:test")
    rules = {"score": options.score, "budget": options.budget, "image_cost": options.image_cost}
    reopen = partial(Session.open, log, neurons=neurons, stack=options.stack, seed=options.seed, **rules)
    play_in_terminal(reopen(), reopen=reopen)


def site(options: given.Site) -> None:
    """Write the site of labels."""
    from dnr_env.evaluation.site import SHOWN, write_site

    folder = options.results.expanduser()
    settings = read_settings(folder / "settings.json") if (folder / "settings.json").exists() else {}
    records = read_lines(folder / "labels.jsonl", SHOWN)
    if not {"stack", "score"} <= settings.keys() or not records:
        raise DnRError(f"`results` must be a folder that `dnr label` wrote (got {folder})")
    stack = load(options.stack or settings["stack"])
    for part, found in stack.fingerprints().items():
        if part in ("reader", "probe") and settings.get(part, found) != found:
            raise DnRError(f"`stack` must be the one that labelled: its {part} was {settings[part]!r} (got {found!r})")
    records = sorted(records, key=lambda record: stack.neurons.index(record["neuron"]))
    print(f"site: {write_site(stack, records, settings['score'], options.title, options.out.expanduser())}")


def export_sessions(options: given.ExportSessions) -> None:
    """Replay the sessions, and write their tables and data set."""
    from dnr_env.agents.human.agreement import agreement, shown_agreement
    from dnr_env.agents.human.export import minari_dataset, tables
    from dnr_env.agents.human.recorded import recorded_in

    episodes = recorded_in(options.sessions)
    if not episodes:
        raise DnRError("`sessions` must hold at least one event (got none)")
    for path in tables(episodes, options.out.expanduser(), options.parquet):
        print(path)
    if text := shown_agreement(agreement(episodes)):
        print(f"\n{text}\n")
    if options.minari:
        data = minari_dataset([one for one in episodes if len(one.actions)], options.minari)
        print(f"Minari data set {options.minari}: {data.total_episodes} episodes, {data.total_steps} steps")


def serve(options: given.Serve) -> None:
    """Serve the page of each annotator's session."""
    from dnr_env.web.serve import serve as serve_pages

    serve_pages(
        options.out.expanduser(),
        options.annotator,
        load(options.stack).neurons.named(options.neurons),
        stack=options.stack,
        seed=options.seed,
        blind=options.blind,
        shuffle=options.shuffle,
        repeats=options.repeats,
        port=options.port,
        browser=options.browser,
        score=options.score,
        budget=options.budget,
        image_cost=options.image_cost,
    )


def rate(options: given.Rate) -> None:
    """Serve each annotator's screens."""
    from dnr_env.rating.study import CONSENT, make_study
    from dnr_env.web.serve import rate as serve_rating

    stack, out = load(options.stack), options.out.expanduser()
    study = make_study(
        stack,
        options.labels,
        stack.neurons.named(options.neurons),
        layer=options.layer,
        items=options.items,
        repeats=options.repeats,
        pairs=options.pairs,
        control=options.control,
        seed=options.seed,
        consent=CONSENT if options.consent is None else read_text(options.consent.expanduser(), "consent"),
    )
    plan = study.plan
    print(f"{counted(len(plan.items), 'item')}, and {plan.repeats} again, of {counted(len(plan.neurons), 'neuron')}")
    serve_rating(out, options.annotator, study, stack, port=options.port, browser=options.browser)


def ratings(options: given.Ratings) -> None:
    """Write the tables of a rating, and print them."""
    from dnr_env.rating.results import write_results

    print(write_results(options.folder.expanduser()))


def calibrate(options: given.Calibrate) -> None:
    """Measure concepts, fit the calibration to them, and write it with its check."""
    stack = load(options.stack)
    calibration, checked = calibrated(stack, options.neurons, options.limit)
    out = options.out.expanduser()
    make_folder(out.parent)
    write_atomically(out, calibration.write())
    print(table(checked))
    print(f"{stack.tally()}\ncalibration: {out}")


def plan(options: given.Plan) -> None:
    """Print what labelling would take. At most the target is loaded."""
    agent = make_agent(options.agent)
    print("\n".join(plan_labelling(options.stack, agent, options.neurons, options.rules).lines()))


def store(options: given.Store) -> None:
    """Print what the store holds, or forget the answers of models."""
    path, chosen = cache_dir() / "store.sqlite", {"writer": options.writer, "captioner": options.captioner}
    models = {part: model for part, model in chosen.items() if model is not None}
    if (options.action == "forget") != bool(models):
        raise DnRError(
            "`dnr store forget` must have a `--writer` or a `--captioner` to forget, and `dnr store` neither"
        )
    kept = Store(path)
    if not models:
        print(f"{path}:", *lines(holdings(kept)), sep="\n")
    for part, model in models.items():
        print(f"forgotten of {part} {model}:", *lines(forget(kept, part, model)), sep="\n")


def doctor(options: given.Doctor) -> None:
    """Print each finding as soon as it is made. The exit code is 1 if something is missing."""
    fine = True
    for finding in examine(options.stack, options.load):
        print(finding, flush=True)
        fine &= finding.fine
    if not fine:
        sys.exit(1)
