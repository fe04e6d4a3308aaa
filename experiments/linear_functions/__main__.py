"""``python -m experiments.linear_functions``."""

import sys

from experiments.common.scaffold import main
from experiments.linear_functions.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
