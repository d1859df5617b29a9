"""The parts of a stack of real models, behind the protocols of `dnr_env.interfaces`. They need the extra `models`.

A module belongs here if it loads or queries a model, or reads the configuration that names it.
"""
