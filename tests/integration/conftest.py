"""The fixtures of these tests, and the SDK's plugin for its own tests of taps and targets."""

from singer_sdk.testing.pytest_plugin import pytest_generate_tests

from support.fixtures import _unmoved, command, launch, listed, load, simulator

__all__ = ["_unmoved", "command", "launch", "listed", "load", "pytest_generate_tests", "simulator"]
