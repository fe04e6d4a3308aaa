"""The experiments by name."""

import subprocess
import sys

import pytest

from experiments.common import registry
from jaxsvd.runtime.errors import UserError


def test_names_imports_no_experiment():
    code = (
        "import sys; from experiments.common import registry; names = registry.names();"
        "assert 'algorithm1' in names and 'speed' in names and 'common' not in names, names;"
        "assert not [n for n in names if f'experiments.{n}' in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_run_gives_the_exit_status_and_restores_the_arguments(capsys):
    before = sys.argv
    assert registry.run("algorithm1", ["--help"]) == 0
    assert "--quick" in capsys.readouterr().out
    assert registry.run("algorithm1", ["--no-such-option"]) == 2
    assert sys.argv is before


def test_an_unknown_name_is_a_user_error():
    with pytest.raises(
        UserError, match="no experiment 'nothing'; choose from accelerators, algorithm1, "
    ):
        registry.run("nothing", [])
