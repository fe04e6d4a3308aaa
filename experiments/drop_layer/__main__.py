"""``python -m experiments.drop_layer``."""

import sys

from experiments.common.scaffold import main
from experiments.drop_layer.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
