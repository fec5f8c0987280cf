"""What tests share: models of a list, ways to run commands, and fixtures."""
