"""Describe-and-Refine: name what a hidden neuron fires for, as a Gymnasium environment."""

from importlib.metadata import version

from gymnasium.envs.registration import register, registry

from dnr_env.episode import Action as Action
from dnr_env.episode import Rules as Rules
from dnr_env.errors import ConceptError as ConceptError
from dnr_env.errors import DnRError as DnRError
from dnr_env.stacks import load as load_stack

__version__ = version("dnr-env")
__all__ = ["Action", "ConceptError", "DnRError", "Rules", "__version__", "load_stack"]

for _id, _slots in (("DnR/Refine-v0", False), ("DnR/RefineSlots-v0", True)):
    if _id not in registry:
        register(
            id=_id,
            entry_point="dnr_env.env:RefineEnv",
            vector_entry_point="dnr_env.vector_env:RefineVectorEnv",
            kwargs={"slots": _slots},
        )
