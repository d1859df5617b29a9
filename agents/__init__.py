"""Agents: they choose the actions of episodes, or label neurons without an episode. Import them as `dnr_env.agents`.

A module belongs here if it implements an agent, trains one, or lets a person act as one.
"""

if __name__ == "agents":  # a second import under this name would duplicate every class
    raise ImportError("`agents` is the source folder of `dnr_env.agents`; import `dnr_env.agents` instead")
