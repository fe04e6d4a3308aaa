"""``python -m experiments.linear_functions``."""

import sys

from experiments.linear_functions.experiment import EXPERIMENT
from experiments.scaffold import main

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
