"""What holds for all tests; what a folder's own need besides is in its conftest."""

from __future__ import annotations

import os

import pytest

# Failed assertions of what tests share explain themselves, too.
pytest.register_assert_rewrite("support")

import support.examples  # noqa: E402, F401  (its profiles are there before one is asked for)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that are given more time than others: at the end, one worker would be left with them."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Have twice as many workers as there are cores: half of its time, a test waits for an answer."""
    return 2 * (os.cpu_count() or 1)
