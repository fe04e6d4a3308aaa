"""``python -m experiments.shots_sweep``."""

import sys

from experiments.common.scaffold import main
from experiments.shots_sweep.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
