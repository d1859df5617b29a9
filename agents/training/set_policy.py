"""`SetNetwork` as a policy of MaskablePPO, and the network by which a trained model acts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from dnr_env.agents.learned.features import SLOTS
from dnr_env.agents.learned.network import WIDTH, SetNetwork, SetPool, hidden_layer, set_logits
from dnr_env.env.rules import ActionForm


class SetExtractor(nn.Module):
    """All layers of policy and value except the last, with the interface that Stable-Baselines3 requires."""

    latent_dim_pi = (SLOTS + 1) * WIDTH
    latent_dim_vf = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = SetPool(), SetPool()
        self.each = hidden_layer(3 * WIDTH)
        self.whole = hidden_layer(2 * WIDTH)
        self.value = hidden_layer(2 * WIDTH)

    def network(self, last: nn.Module) -> SetNetwork:
        """Build the policy's network, which shares the parameters of this module."""
        return SetNetwork(last, self.actor, self.each, self.whole)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (n, COUNT) to the latents of policy and value."""
        return self.forward_actor(x), self.forward_critic(x)

    def forward_actor(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, COUNT) to (n, latent_dim_pi)."""
        return self.network(nn.Identity()).latent(x)

    def forward_critic(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, COUNT) to (n, latent_dim_vf)."""
        latent: torch.Tensor = self.value(self.critic(x)[1])
        return latent


class SetPolicy(MaskableActorCriticPolicy):  # type: ignore[misc]
    """MaskablePPO's policy with weights shared between slots.

    Args:
        *spaces: The spaces and the learning rate that Stable-Baselines3 gives.
        form: What an action consists of: `slots` or `edits`.
        **others: Further arguments of the base class.
    """

    def __init__(self, *spaces: Any, form: ActionForm = "edits", **others: Any) -> None:
        self._form: ActionForm = form  # the base class builds the layers
        super().__init__(*spaces, **others)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = SetExtractor()

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        self.action_net = set_logits(self._form).apply(partial(self.init_weights, gain=0.01))  # as SB3 initialises it
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


def acting_network(model: BaseAlgorithm) -> nn.Module:
    """Copy the part of a model's policy that chooses actions."""
    policy = model.policy
    if isinstance(policy, SetPolicy):
        network: nn.Module = policy.mlp_extractor.network(policy.action_net)
    elif hasattr(policy, "q_net"):
        network = policy.q_net.q_net
    else:
        network = nn.Sequential(*policy.mlp_extractor.policy_net, policy.action_net)
    return copy.deepcopy(network).eval()
