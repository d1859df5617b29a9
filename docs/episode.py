"""Draws docs/episode.png, the picture of the README: seven turns of one episode.

python docs/episode.py
"""

from pathlib import Path

import gymnasium as gym
from PIL import Image

from dnr_env import Action

env = gym.make("DnR/Refine-v0", neurons="layer4:116", user_concepts=["a huge warm crescent"], render_mode="rgb_array")
env.reset(seed=3)
for action in (Action.MUTATE, Action.MUTATE, Action.ADD, Action.MUTATE, Action.KEEP, Action.MUTATE, Action.MUTATE):
    env.step(action)
Image.fromarray(env.render()).quantize(256).save(Path(__file__).parent / "episode.png", optimize=True)
