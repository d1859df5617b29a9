"""What the study plays: its worlds, families of agents, settings of transfer, and trainings."""

from __future__ import annotations

LAYERS = ("layer1", "layer2", "layer3", "layer4")
WORLDS = ("shapes", "scenes")
"""The worlds, each with the neurons of the stack of its name."""


def split(name: str) -> str:
    """Name a split of the target's own neurons, without the planted ones."""
    return ",".join(f"{layer}:{name}" for layer in LAYERS)


RULES: dict[str, tuple[str, ...]] = {
    "shortlist": (*(f"shortlist:{n}" for n in (2, 3, 5, 8)), *(f"shortlist:{n}:2" for n in (2, 3, 5))),
    "improve": tuple(f"improve:{n}" for n in (4, 6, 8, 10, 12)),
    "gradient": tuple(f"gradient:{n}:4:{spread}:8" for n in (4, 8, 12) for spread in (1, 1.5, 2.5)),
    "turns": tuple(f"turns:{n}" for n in (4, 6, 9, 12)),
    "kinds": tuple(f"kinds:{n}:4" for n in (8, 12, 14)),
    "cover": tuple(f"cover:{n}:{coverage}:0.5:4" for n in (8, 12, 14) for coverage in (0.05, 0.1, 0.2)),
}
"""Families of rules that list what is free and draw while it pays."""
EVERYWHERE: dict[str, tuple[str, ...]] = {
    **RULES,
    "list": tuple(f"list:{n}" for n in (6, 9, 12, 18, 22)),
    "clip-dissect": (
        "clip-dissect",
        *(f"clip-dissect:{top}:{t}:{penalty}" for top in (50, 100) for t in (1, 2) for penalty in (0.5, 1)),
    ),
}
"""Families that are tuned in both worlds. The member with the best mean net value on the validation neurons, where both
worlds count alike, enters the comparisons."""
IN_SHAPES: dict[str, tuple[str, ...]] = {
    "rounds@informed": tuple(f"rounds:{n}@informed" for n in (1, 2, 3, 5)),
    "patience@informed": tuple(f"patience:{n}@informed" for n in (1, 2, 3)),
    "line@informed": tuple(f"line:{n}@informed" for n in (1, 3, 10)),
    "line": tuple(f"line:{n}" for n in (3, 10)),
    "patience@linear": tuple(f"patience:{n}@linear" for n in (2, 4, 8)),
    "patience": tuple(f"patience:{n}" for n in (1, 2, 4, 8)),
    "halving": ("halving:10", "halving:20", "halving:40"),
    "lucb": ("lucb:0.1", "lucb:0.25", "lucb:0.5"),
    "top-two": ("top-two:0.1", "top-two:0.3", "top-two:0.5"),
}
"""Families that are tuned in `shapes` alone, as they draw all that they list."""
FIXED: dict[str, tuple[str, ...]] = {
    "shapes": (
        "stop", "random", "dnd", "dnr", "dnr@informed", "annealed@informed", "lookahead@informed", "promise", "linear",
        "linear-joined", "constant", "random-label", "oracle",
    ),
    "scenes": ("stop", "random", "dnd", "dnr", "promise", "linear", "linear-joined", "random-label", "oracle"),
}  # fmt: skip
"""Agents without constants to tune."""
TRANSFER: dict[str, tuple[str, ...]] = {
    "second-target": ("--stack", "shapes-transfer", "--neurons", ",".join(LAYERS)),
    "planted": ("--neurons", "planted"),
    "unfaithful": ("--stack", "shapes-unfaithful", "--neurons", "test"),
    "withheld-words": ("--stack", "shapes-withheld", "--neurons", "test"),
    "cheap": ("--image-cost", "0.00001", "--neurons", "test"),
    "dear": ("--image-cost", "0.0002", "--neurons", "test"),
    "no-budget": ("--budget", "0", "--neurons", "test"),
    "scenes-planted": ("--stack", "scenes", "--neurons", "planted"),
    "scenes-plain": ("--stack", "scenes-plain", "--neurons", "test"),
    "scenes-residual": ("--stack", "scenes-residual", "--neurons", "test"),
    "scenes-sae": ("--stack", "scenes-sae", "--neurons", "test"),
    "scenes-unfaithful": ("--stack", "scenes-unfaithful", "--neurons", "test"),
    "scenes-few": ("--stack", "scenes-few", "--neurons", "test"),
    "scenes-cheap": ("--stack", "scenes", "--image-cost", "0.00001", "--neurons", "test"),
    "scenes-dear": ("--stack", "scenes", "--image-cost", "0.0002", "--neurons", "test"),
    "scenes-budget-25": ("--stack", "scenes", "--budget", "25", "--neurons", "test"),
}
"""Settings in which the policy is evaluated without further training."""
NO_OPTIMUM = ("scenes-plain", "scenes-residual", "scenes-sae", "scenes-unfaithful", "scenes-few")
"""Settings without `oracle`, as the best label of each neuron is not known."""
ELSEWHERE = ("stop", "dnd", "promise", "linear-joined", "oracle")
"""Agents of these settings, beside the tuned rules and the policy."""
RECIPE = ("--mutator", "informed", "--neurons", split("train"), "--validation", split("validation"))
BOTH = ("--stack", *WORLDS, "--score", "grounded_k")
AS_IT_IS = "as-it-is"
REWARDED = ("--reward", "held_out")
TRAINED = ("--learning-rate", "0.0003", "--entropy", "0.002")
CLONED = ("--clone", "turns:9", *TRAINED, *REWARDED)
"""How the policy is trained: it first imitates a rule, then learns by what its labels gain on held-out drawings."""
VARIANTS: dict[str, tuple[str, ...]] = {
    AS_IT_IS: (*BOTH, *CLONED),
    "shapes-alone": ("--stack", "shapes", "--score", "grounded_k", *CLONED),
    "scenes-alone": ("--stack", "scenes", "--score", "grounded_k", *CLONED),
    "with-directions": ("--stack", *WORLDS, "shapes-directions", "--score", "grounded_k", *CLONED),
    "from-nothing": (*BOTH, *REWARDED),
    "clone-of-improve": (*BOTH, "--clone", "improve:8", *TRAINED, *REWARDED),
    "own-estimate": (*BOTH, "--clone", "turns:9", *TRAINED),
    "slots": (*BOTH, *REWARDED, "--moves", "slots"),
    "four-actions": (*BOTH, *REWARDED, "--network", "flat", "--moves", "incumbent"),
    "without-errors": (*BOTH, *CLONED, "--without", "errors"),
    "without-cover": (*BOTH, *CLONED, "--without", "cover"),
    "without-simulation": (*BOTH, *CLONED, "--without", "simulation"),
    "without-worth": (*BOTH, *CLONED, "--without", "worth"),
    "without-user": (*BOTH, *CLONED, "--user-concepts", "none"),
}
"""Ablations: each changes one part of the policy's training. `AS_IT_IS` changes nothing but the number of steps."""
USERS = ("none", "0.5", "1")
"""How often a simulated user's concept is a good one."""
SCORES = ("log_k", "grounded_k", "semantic_k", "mean", "topk_sq_mean", "auc", "mad")
"""Scores by which planted neurons of `shapes` are named."""
