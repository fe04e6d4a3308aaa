"""Transformers trained in context on linear functions (Garg et al., 2022; the paper's Fig. 5).

Run as ``python -m experiments.linear_functions``. What a run trained is used again by::

    from experiments.linear_functions import draw, load

    trained = load("runs/linear-functions")               # or load(run, steps)
    prompts = draw(jax.random.key(0), 1000, trained.size.points, trained.size.d)
    trained.errors(prompts)                               # [prompts, points]
    trained.edited("3:mlp:0.9").errors(prompts)
    trained.blocks[3], trained.streams(prompts.x, prompts.y)[3]  # a layer, and what it reads
"""

from experiments.linear_functions.prompts import RegressionPrompts, baseline_errors, draw
from experiments.linear_functions.sizes import Size
from experiments.linear_functions.trained import TrainedModel, load

__all__ = ["RegressionPrompts", "Size", "TrainedModel", "baseline_errors", "draw", "load"]
