"""A run without a model, as a program: it writes what a command writes, fast and without end.

    python -m tests.reliability.writer RUN UNITS [hold]

A test kills it. ``hold`` opens the run, says so, and waits.
"""

import sys
import time
from pathlib import Path

from jaxsvd.runs.directory import PREDICTIONS, Run
from jaxsvd.runtime.errors import UserError

REQUEST = {"command": "writer", "rates": [0.0, 0.5]}


def record(unit: int) -> dict[str, object]:
    """What a unit's measurement gives."""
    return {"unit": unit, "text": f"naïve {unit} " + "x" * (unit % 200)}


def write(path: Path, units: int) -> None:
    """Finish the units that are missing, one by one."""
    with Run.open(path, REQUEST, resume=True) as run:
        done = {actual["unit"] for actual in run.done}
        for unit in range(units):
            if unit not in done:
                run.append([record(unit)])
        run.write_lines(PREDICTIONS, (record(unit) for unit in range(units)))
        run.finish({"command": "writer", "units": units})


if __name__ == "__main__":
    try:
        if "hold" in sys.argv:
            with Run.open(sys.argv[1], REQUEST, resume=True):
                print("held", flush=True)
                time.sleep(600)
        write(Path(sys.argv[1]), int(sys.argv[2]))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
