"""Deterministic simulation: whole readings in one thread and in virtual time, everything drawn from one seed.

What decides what is true runs as it is: the scheduler, the window reader, the client with its retries, the rate limit
and the concurrency limit. Replaced are what they stand on: the worker pool and the clock (`pool`), HTTP (`session`) and
Braze with its list (`world`). What a run is like (`scenario`), in which order its answers come and what goes wrong
meanwhile is drawn from its seed, so a failure is a number, and that number replays it.

    python -m simulation --seconds 60     # as many seeds as fit
    python -m simulation --seed 1234      # one of them, with a line for all that happens
    python -m simulation --exhaustive     # every small list with every few changes
    python -m simulation --shapes         # what readings cost, by the shape of the list

Part of the tests; never shipped.
"""
