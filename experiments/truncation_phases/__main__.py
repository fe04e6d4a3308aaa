"""``python -m experiments.truncation_phases``."""

import sys

from experiments.common.scaffold import main
from experiments.truncation_phases.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
