"""What agents and labels are worth: rollouts, the judge, comparisons with their statistics, tables, plots and reports.

A module belongs here if it plays agents, or measures or shows what came of it.
"""
