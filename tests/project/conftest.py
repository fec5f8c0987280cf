"""The fixtures of these tests."""

from support.fixtures import _unmoved, command, launch, server, simulator

__all__ = ["_unmoved", "command", "launch", "server", "simulator"]
