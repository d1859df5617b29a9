"""Proposes concepts: steps 1 and 2 of Describe-and-Dissect, and models of a neuron that predict scores.

A module belongs here if it returns concepts, or predicts their scores, before they are drawn.
"""
