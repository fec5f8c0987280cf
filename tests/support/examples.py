"""How many examples hypothesis tries."""

from __future__ import annotations

import hypothesis

# How long an example takes says more about the machine than about what it tests.
hypothesis.settings.register_profile("unhurried", deadline=None)
# `--hypothesis-profile=thorough` looks ten times as long.
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1_000)
# `make mutants` tries the same few on every mutant, and makes none of them simpler.
hypothesis.settings.register_profile(
    "mutants",
    deadline=None,
    max_examples=20,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("unhurried")


def examples(usual: int, *, are_fixed: bool = False) -> hypothesis.settings:
    """Have a property tried on so many examples, or on more where the profile has more than usual.

    Args:
        usual: How many.
        are_fixed: They are the same in every run, unless more are asked for: where one in thousands meets what cannot
            be proven (docs/guarantees.md), it would fail now and then.
    """
    most = hypothesis.settings.default.max_examples
    return hypothesis.settings(
        max_examples=usual * most // 100,
        derandomize=are_fixed and most <= 100,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
