"""The theory stands alone."""

import subprocess
import sys

FOREIGN = ("transformers", "datasets", "flax", "jaxsvd", "torch", "experiments", "matplotlib")


def test_theory_needs_neither_a_model_nor_a_tokenizer() -> None:
    code = (
        "import sys, theory\n"
        "from theory import implicit, noise, bounds, pruning, softmax, cmi, agreement, reference\n"
        "from theory import bayes, blocks, first_order, preconditioning\n"
        f"print([name for name in {FOREIGN} if name in sys.modules])\n"
        "import jax\n"
        "print(jax.config.read('jax_enable_x64'))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n") == ["[]", "False", ""]
    assert run.stderr == ""
