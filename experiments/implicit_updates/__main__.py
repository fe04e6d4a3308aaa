"""``python -m experiments.implicit_updates``."""

import sys

from experiments.common.scaffold import main
from experiments.implicit_updates.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
