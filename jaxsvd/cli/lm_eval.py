"""``jaxsvd lm-eval``: the command line of lm-evaluation-harness, with the backend registered."""

import argparse
import sys

from jaxsvd.cli.command import Command


class HarnessArguments(argparse.Namespace):
    """What the options give."""

    rest: list[str]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Everything after the command is the harness's own."""
    parser.prefix_chars = ""
    parser.add_argument(
        "rest", nargs="*", metavar="ARGUMENT", help="of lm_eval, as in: run --model jaxsvd ..."
    )


def run(arguments: HarnessArguments) -> None:
    """Register the backend, and hand over."""
    from jaxsvd.runtime.errors import UserError

    try:
        import lm_eval.__main__ as harness  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"lm-evaluation-harness cannot be imported ({error}); pip install 'jaxsvd[lm-eval]'"
        ) from None
    import jaxsvd.lm_eval  # noqa: F401 (registers itself)

    sys.argv = ["jaxsvd lm-eval", *arguments.rest]
    harness.cli_evaluate()


LM_EVAL = Command(
    "lm-eval",
    "lm-evaluation-harness with the model jaxsvd, such as run --model jaxsvd --model_args "
    "pretrained=MODEL,edits=28:mlp:0.95 --tasks piqa",
    HarnessArguments,
    add_options,
    run,
)
