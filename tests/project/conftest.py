"""The fixtures of these tests."""

from support.fixtures import _unmoved, command, database, launch, launch_meltano, meltano_project, server, simulator

__all__ = ["_unmoved", "command", "database", "launch", "launch_meltano", "meltano_project", "server", "simulator"]
