"""python -m adamx.sweep: every point of a grid of hyperparameters, in one kernel, recorded in MLflow."""

import sys

from adamx.sweep.command import main

if __name__ == "__main__":
    sys.exit(main())
