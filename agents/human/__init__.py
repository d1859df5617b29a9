"""A person as the agent: a session with no user interface in it, and a terminal in front of it."""

from agents.human.session import Session as Session
from agents.human.terminal import play as play
