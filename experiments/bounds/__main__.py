"""``python -m experiments.bounds``."""

import sys

from experiments.bounds.experiment import EXPERIMENT
from experiments.common.scaffold import main

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
