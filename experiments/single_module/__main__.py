"""``python -m experiments.single_module``."""

import sys

from experiments.common.scaffold import main
from experiments.single_module.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
