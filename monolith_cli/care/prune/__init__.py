"""Removing old steps of a model directory.

`plan.plan_prune` says what stays and why, and changes nothing. `proof.prove` checks what is to
stay. `run.carry_out` removes the rest, with a journal, and `run.go_on` finishes what was cut off.
"""
