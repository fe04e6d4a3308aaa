"""``python -m experiments.trained_linear_attention``."""

import sys

from experiments.common.scaffold import main
from experiments.trained_linear_attention.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
