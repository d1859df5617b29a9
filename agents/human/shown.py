"""What a person has been shown, which undoing does not take back: the images, which stay paid, and models' answers."""

from __future__ import annotations

import numpy as np

from dnr_env.env.episodes import Episodes


class Shown:
    """Of each neuron of a session, by its index: the images, each counted once, and whether the person has answered."""

    def __init__(self) -> None:
        self._shown: dict[int, dict[str, int]] = {}  # images by the neuron and by what was drawn
        self.answered: set[int] = set()
        """The neurons to which the person has given a concept of their own, or a label."""

    def copy(self) -> Shown:
        """The same, which notes for itself."""
        other = Shown()
        other._shown = {neuron: dict(shown) for neuron, shown in self._shown.items()}
        other.answered = set(self.answered)
        return other

    def note(self, neuron: int, episodes: Episodes) -> None:
        """Note what the only episode has drawn for a neuron, by its index in the session."""
        shown = self._shown.setdefault(neuron, {})
        for text, count, parts in zip(
            episodes.texts[0], episodes.state.counts[0].tolist(), episodes.state.parts[0], strict=False
        ):
            if parts[0] < 0 and count > shown.get(text, 0):
                shown[text] = count

    def images(self, neuron: int) -> int:
        """The images that were shown for a neuron."""
        return sum(self._shown.get(neuron, {}).values())

    def pays(self, neuron: int, episodes: Episodes, slot: int) -> bool:
        """Whether the budget pays for a KEEP of a candidate, by its number from 1. Images shown before are free."""
        state, rules = episodes.state, episodes.rules
        place = state.next_drawn(np.zeros(1, int), state.order[:1, slot - 1])[0]
        after = int(state.counts[0, place]) + rules.images_per_measure
        known = self._shown.get(neuron, {}).get(episodes.texts[0][place], 0)
        return self.images(neuron) + max(0, after - known) <= rules.budget
