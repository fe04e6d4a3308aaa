"""Ctrl-C where Python loses its exception: in a finaliser, and turned into another error."""

import signal
import subprocess
import sys
import textwrap

import pytest

from jaxsvd.runtime import interruption


def run(body: str) -> subprocess.CompletedProcess[str]:
    """A process of its own with Ctrl-C in force, since it gets one."""
    start = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    start += "from jaxsvd.runtime.interruption import handler\n"
    start += "from jaxsvd.runtime.progress import TerminalProgress\n"
    command = [sys.executable, "-c", start + textwrap.dedent(body)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_an_interrupt_lost_in_a_finaliser_stops_the_work() -> None:
    result = run(
        """
        class Finalised:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
        done = 0
        try:
            with handler(), TerminalProgress().bar("work", 10, "units") as advance:
                for done in range(10):
                    if done == 4:
                        Finalised()
                    advance(1)
        except KeyboardInterrupt:
            print("stopped at", done)
        """
    )
    assert result.stdout == "stopped at 4\n"
    assert "Exception ignored" in result.stderr


def test_an_interrupt_that_became_another_error_is_an_interrupt() -> None:
    result = run(
        """
        try:
            with handler():
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                except KeyboardInterrupt as error:
                    raise SystemError("returned a result with an exception set") from error
        except KeyboardInterrupt:
            print("stopped", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        """
    )
    assert result.stdout == "stopped True\n"


def test_without_a_press_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruption.handler():
        interruption.check()
    with pytest.raises(ZeroDivisionError), interruption.handler():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before
