"""Shapes, the embedded world: its words, renderer, trained target and planted neurons.

A module belongs here if it depends on the words of Shapes. Everything runs on a CPU and needs no download.
"""
