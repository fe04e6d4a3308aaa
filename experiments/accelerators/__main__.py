"""``python -m experiments.accelerators``."""

import sys

from experiments.accelerators.experiment import EXPERIMENT
from experiments.common.scaffold import main

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
