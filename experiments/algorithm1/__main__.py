"""``python -m experiments.algorithm1``."""

import sys

from experiments.algorithm1.experiment import EXPERIMENT
from experiments.common.scaffold import main

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
