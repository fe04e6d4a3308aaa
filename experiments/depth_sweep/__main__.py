"""``python -m experiments.depth_sweep``."""

import sys

from experiments.common.scaffold import main
from experiments.depth_sweep.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
