"""A person as the agent: the session without a user interface, its log, and the terminal that drives it."""
