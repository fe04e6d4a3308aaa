"""``python -m experiments.pruned_trajectories``."""

import sys

from experiments.common.scaffold import main
from experiments.pruned_trajectories.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
