"""The Gymnasium environment: rules on arrays, the episodes that they make, and what is seen of these.

A module belongs here if it decides or shows what an episode is. It knows of no model, no agent and no judge.
"""
