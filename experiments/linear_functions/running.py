"""Training in a run directory: goes on where an earlier start stopped, and can be stopped."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from experiments.common.records import Record
from experiments.linear_functions import checkpoints
from experiments.linear_functions.sizes import Size
from experiments.linear_functions.training import (
    RegressionTrainState,
    learning_curve,
    make_steps,
    start,
)
from jaxsvd.runtime import interruption
from jaxsvd.runtime.progress import SILENT, Progress

CALL_SECONDS, SAVE_SHARE = 1.0, 0.02
NOTICES, LEAST_SECONDS, EARLY_SECONDS = 20, 5.0, 30.0


@dataclass
class _Clock:
    """Seconds and processor seconds of a run, over all its starts."""

    seconds: float = 0.0
    cpu: float = 0.0

    def __post_init__(self) -> None:
        self._began = time.perf_counter(), _processor()

    def now(self) -> tuple[float, float]:
        wall, cpu = self._began
        return self.seconds + time.perf_counter() - wall, self.cpu + _processor() - cpu


def train(
    size: Size,
    seed: int,
    run: Path,
    *,
    progress: Progress = SILENT,
    call_seconds: float = CALL_SECONDS,
    save_share: float = SAVE_SHARE,
) -> tuple[RegressionTrainState, Record]:
    """Train to the end of a size, from a run's last state where it has one.

    How long calls last and when states are saved depends on the machine's speed; the weights do
    not (:mod:`experiments.linear_functions.training`).

    Args:
        size: what to train.
        seed: of weights and prompts.
        run: a directory; the weights after ``size.lengths()`` steps stay in it.
        progress: where to show it.
        call_seconds: about how long one call of the compiled steps lasts, and with it how long
            Ctrl-C may have to wait.
        save_share: of the time, at most, for saving states: what a killed run can lose is a
            second at the default size, and fifty times what saving takes at larger ones.

    Returns:
        The last state, and what to tell of it: seconds over all starts, the learning curve.

    Raises:
        UserError: the last state is unreadable, of another size, or cannot be written.
    """
    state, clock = start(size, seed), _Clock()
    if checkpoints.last_path(run).exists():
        state, seconds, cpu = checkpoints.restore(state, size, seed, run)
        clock = _Clock(seconds, cpu)
    first = done = int(state.step)
    run_steps, ends = make_steps(size, seed), size.lengths()
    saved, cost, count = time.perf_counter(), 0.0, 1
    reporter = _LossReporter(size, progress, done)
    with progress.bar("training", size.steps, "steps") as advance:
        advance(done)
        while done < size.steps:
            # Every length to be kept ends a call.
            count = min(count, next(end for end in ends if end > done) - done)
            began = time.perf_counter()
            state = jax.block_until_ready(run_steps(state, count))
            took = time.perf_counter() - began
            done += count
            if done in ends or (time.perf_counter() - saved) * save_share > cost:
                saving = time.perf_counter()
                checkpoints.save(state, size, seed, run, *clock.now())
                saved = time.perf_counter()
                cost = saved - saving
            advance(count)
            interruption.check()
            reporter.report(state, done)
            count = _next_count(count, took, call_seconds, compiled=done - count > first)
    seconds, cpu = clock.now()
    ends_of_curve, losses = learning_curve(size, np.asarray(state.losses))
    return state, {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "curve": {"steps": ends_of_curve, "loss": losses},
    }


def _next_count(count: int, took: float, wanted: float, *, compiled: bool) -> int:
    # The first call also compiles: it says nothing of the speed.
    return max(1, min(4 * count, int(count * wanted / took))) if compiled else count


class _LossReporter:
    """Lines with the loss and the time left: some twenty a run, and an early one."""

    def __init__(self, size: Size, progress: Progress, done: int) -> None:
        self.size, self.progress = size, progress
        self.reported = done * NOTICES // size.steps
        self.began, self.first, self.last = time.perf_counter(), done, 0.0

    def report(self, state: RegressionTrainState, done: int) -> None:
        steps, spent = self.size.steps, time.perf_counter() - self.began
        due = done * NOTICES // steps > self.reported or (not self.last and spent > EARLY_SECONDS)
        if not due or done == steps or spent - self.last < LEAST_SECONDS:
            return
        self.reported, self.last = done * NOTICES // steps, spent
        ends, losses = learning_curve(self.size, np.asarray(state.losses))
        finished = [loss for end, loss in zip(ends, losses, strict=True) if end <= done]
        left = spent / (done - self.first) * (steps - done)
        loss = f"error {np.mean(finished[-4:]):.3f}" if finished else "error not known yet"
        self.progress.notice(
            f"step {done:,} of {steps:,}: {loss} on average over the points, "
            f"about {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
