"""Measurements of drawn and real images: the lab, its store, the probe set and the vocabulary.

A module belongs here if it turns images into numbers that are stored. Nothing here proposes or judges a concept.
"""
