"""``python -m experiments.bounds_vs_accuracy [MODEL] [--task NAME] [--model KIND] [--quick]``.

Over layers, modules, rates and demonstration seeds: what truncation does to accuracy, training
error and their gap, and what the theory would have said. ``--model linear`` asks the same of linear
transformers trained here, ``--model linear-functions RUN`` of the transformer of a run of
``experiments.linear_functions``.
"""

import sys

from experiments.bounds_vs_accuracy.experiment import EXPERIMENT
from experiments.common.scaffold import main

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
