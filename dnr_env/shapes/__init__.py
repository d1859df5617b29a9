"""The embedded world: a vocabulary, a renderer that draws it, a small network trained on it, neurons planted in it."""
