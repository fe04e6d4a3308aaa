"""``python -m jaxsvd`` is the same as ``jaxsvd``."""

import sys

from jaxsvd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
