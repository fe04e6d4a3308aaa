"""``python -m experiments.study.record RUN --out FILE``: the record of a run, finished or not."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.study.summary import record_of
from jaxsvd.runs.directory import pretty, write_whole
from jaxsvd.runtime.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.study.record",
        description="What a run of the study has measured so far, small enough to ship.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory of the study")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write")
    options = parser.parse_args(argv)
    try:
        record = record_of(options.run)
        write_whole(options.out, pretty(record.to_json()))
    except UserError as error:
        print(f"study: error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {len(record.grid)} validation cells, {len(record.tests)} tests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
