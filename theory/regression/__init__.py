"""Linear regression in context: tasks, and linear transformers trained on them.

A prompt is N demonstrations [x_i, y_i] and a query [x, 0]; the answer is y = <w, x> + noise, with a
fresh w for every prompt (Garg et al., 2022). A linear transformer predicts *minus* the last entry
of the query after its layers, the sign under which gradient descent is one of them (von Oswald et
al., 2023): the demonstrations' last entries are then the residuals.
"""

from theory.regression.stacks import LearnedStep, implicit_regressor, learned_step, predict
from theory.regression.tasks import RegressionPrompt, Task, clipped_loss, sample, squared_loss
from theory.regression.training import Form, Recipe, TrainedWeights, train

__all__ = [
    "Form",
    "LearnedStep",
    "Recipe",
    "RegressionPrompt",
    "Task",
    "TrainedWeights",
    "clipped_loss",
    "implicit_regressor",
    "learned_step",
    "predict",
    "sample",
    "squared_loss",
    "train",
]
