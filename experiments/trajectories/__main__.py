"""``python -m experiments.trajectories``."""

import sys

from experiments.common.scaffold import main
from experiments.trajectories.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
