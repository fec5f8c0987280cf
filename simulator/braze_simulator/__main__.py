"""`python -m braze_simulator` is the command `braze-simulator`."""

from braze_simulator.cli import main

if __name__ == "__main__":
    main()
