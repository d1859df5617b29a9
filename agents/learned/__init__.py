"""Learned policies: their features, their networks, and the agent that acts by one."""
