"""What holds for all tests; what a folder's own need besides is in its conftest."""

from __future__ import annotations

import pytest

# Failed assertions of what tests share explain themselves, too.
pytest.register_assert_rewrite("support")

import support.examples  # noqa: E402, F401  (its profiles are there before one is asked for)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that are given more time than others: at the end, one worker would be left with them."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)
