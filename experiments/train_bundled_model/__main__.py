"""``python -m experiments.train_bundled_model``."""

import sys

from experiments.train_bundled_model.experiment import main

if __name__ == "__main__":
    sys.exit(main())
