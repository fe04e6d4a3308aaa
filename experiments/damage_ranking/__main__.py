"""``python -m experiments.damage_ranking``."""

import sys

from experiments.common.scaffold import main
from experiments.damage_ranking.experiment import EXPERIMENT

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
