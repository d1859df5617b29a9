"""Describe-and-Refine: name what a hidden neuron fires for.

`label`, `exemplars`, `judge` and `rank` are for models that you have; the environment is
`gymnasium.make("dnr_env:DnR/Refine-v0")`.
"""

from importlib.metadata import version

from gymnasium.envs import registration

from dnr_env.api import exemplars, judge, label, rank
from dnr_env.env.rules import Action, Rules
from dnr_env.errors import ConceptError, DnRError
from dnr_env.exemplar_table import ExemplarTable
from dnr_env.interfaces import Kind
from dnr_env.judged_table import Judged
from dnr_env.registry import load as load_stack
from dnr_env.tables import Label, Labels, Ranking

__version__ = version("dnr-env")
__all__ = [
    "Action",
    "ConceptError",
    "DnRError",
    "ExemplarTable",
    "Judged",
    "Kind",
    "Label",
    "Labels",
    "Ranking",
    "Rules",
    "__version__",
    "exemplars",
    "judge",
    "label",
    "load_stack",
    "rank",
]

for _id, _actions in (
    ("DnR/Refine-v0", "incumbent"),
    ("DnR/RefineSlots-v0", "slots"),
    ("DnR/RefineEdits-v0", "edits"),
):
    if _id not in registration.registry:
        registration.register(
            id=_id,
            entry_point="dnr_env.env.refine_env:RefineEnv",
            vector_entry_point="dnr_env.env.vector_env:RefineVectorEnv",
            kwargs={"actions": _actions},
        )
