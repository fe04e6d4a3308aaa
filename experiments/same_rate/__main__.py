"""``python -m experiments.same_rate``."""

import sys

from experiments.common.scaffold import main
from experiments.same_rate.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
