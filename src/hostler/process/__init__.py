"""Processes: one *run* is one life of one process of a model.

The *guardian* is the parent of every engine and outlives Hostler by design, so nobody is orphaned. A run
moves through the states of `machine`, is found ready by the policy of `probe`, and a failed start is
explained by `causes`.
"""
