"""The command line: options, and what each command prints and writes.

A module belongs here if it reads options or prints for people. All computing is done elsewhere.
"""
