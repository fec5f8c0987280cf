"""Lets `python -m simulation` run the command line."""

import sys

from simulation.run import main

sys.exit(main(sys.argv[1:]))
