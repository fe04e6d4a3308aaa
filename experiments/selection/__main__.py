"""``python -m experiments.selection``."""

import sys

from experiments.common.scaffold import main
from experiments.selection.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
