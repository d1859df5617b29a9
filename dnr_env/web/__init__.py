"""A person as the agent, in a browser: a page on this machine, and nothing else. It needs the extra `web`."""
