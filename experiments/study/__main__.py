"""``python -m experiments.study``."""

import sys

from experiments.common.scaffold import main
from experiments.study.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
