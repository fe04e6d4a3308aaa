"""``python -m experiments.condition_numbers``."""

import sys

from experiments.common.scaffold import main
from experiments.condition_numbers.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
