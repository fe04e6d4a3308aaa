"""Training of the bundled model: the plan, the loss, and a step.

Everything random in a step is a function of the seed and the step's number, so a run that was
killed and resumed ends with the weights of one that was not.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from experiments.train_bundled_model.episodes import Difficulty, Episodes, draw, language
from experiments.train_bundled_model.tokenizer import vocabulary
from jaxsvd.models import read_config
from jaxsvd.models.attention import Places
from jaxsvd.models.decoder import Decoder
from jaxsvd.tasks.words import CATEGORIES, LABELS, LONGEST, NOISE_RATE, SHORTEST

HF_CONFIG: dict[str, Any] = {
    "activation_function": "gelu_new",
    "architectures": ["GPTJForCausalLM"],
    "bos_token_id": None,
    "eos_token_id": None,
    "layer_norm_epsilon": 1e-5,
    "model_type": "gptj",
    "n_embd": 128,
    "n_head": 4,
    "n_inner": 256,
    "n_layer": 4,
    "n_positions": 512,
    "rotary_dim": 16,
    "tie_word_embeddings": False,
    "vocab_size": len(vocabulary()),
}
"""config.json of the bundled model."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the curriculum.

    Attributes:
        steps: its length.
        rows: episodes in a batch.
        examples: in an episode; the last has one demonstration fewer.
        labels: words of the label pool in use.
        shortest: fewest words in a text.
        longest: most words in a text.
        noise: rate of noise words.
        scaffold: weight of the auxiliary loss (see :func:`loss`).
    """

    steps: int
    rows: int
    examples: int
    labels: int = len(LABELS)
    shortest: int = SHORTEST
    longest: int = LONGEST
    noise: float = NOISE_RATE
    scaffold: float = 0.0

    @property
    def difficulty(self) -> Difficulty:
        """As arrays."""
        return Difficulty(
            jnp.int32(self.labels),
            jnp.int32(self.shortest),
            jnp.int32(self.longest),
            jnp.float32(self.noise),
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that decides the weights, but for the machine.

    Attributes:
        stages: the curriculum.
        seed: of weights and episodes.
        peak: learning rate after warm-up.
        warm_up: steps of a linear rise to it.
        decay: last part of the run, over which it falls linearly to zero.
        initial: standard deviation of the first weights; at the usual 0.02 a model this narrow
            starts more slowly.
        label_weight: of the label loss; all other tokens together have weight 1.
    """

    stages: tuple[Stage, ...]
    seed: int = 0
    peak: float = 2e-3
    warm_up: int = 100
    decay: float = 0.5
    initial: float = 0.06
    label_weight: float = 2.0

    @property
    def steps(self) -> int:
        """In all."""
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int) -> Stage:
        """The stage of a step, counted from 0."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise IndexError(step)

    def scaled(self, steps: int) -> "Plan":
        """The same plan over another number of steps."""
        ends = np.cumsum([stage.steps for stage in self.stages]) * steps // self.steps
        lengths = np.diff(ends, prepend=0)
        stages = tuple(
            dataclasses.replace(stage, steps=int(length))
            for stage, length in zip(self.stages, lengths, strict=True)
        )
        warm_up = min(self.warm_up, max(1, steps // 4))
        return dataclasses.replace(self, stages=stages, warm_up=warm_up)


class State(NamedTuple):
    """Of a run, between two steps."""

    step: Int[Array, ""]
    parameters: nnx.State
    probe: Float[Array, "width categories"]
    optimizer: optax.OptState


class Metrics(NamedTuple):
    """Of a batch; ``accuracy`` by number of demonstrations, ``[E]``, between the two labels."""

    tokens: Float[Array, ""]
    labels: Float[Array, ""]
    scaffold: Float[Array, ""]
    accuracy: Float[Array, " examples"]


Step = Callable[[State, Difficulty, Float[Array, ""], int, int], tuple[State, Metrics]]


def start(plan: Plan, hf_config: dict[str, Any]) -> tuple[nnx.GraphDef, State]:
    """The model's structure and the state before the first step."""
    config, _ = read_config(hf_config, "the bundled model")
    decoder = Decoder(config, rngs=nnx.Rngs(params=jax.random.key(plan.seed)))
    graph, parameters = nnx.split(decoder)
    factor = plan.initial / 0.02  # the decoder's own standard deviation
    parameters = jax.tree.map(lambda x: x * factor if x.ndim == 2 else x, parameters)
    probe = jnp.zeros((config.width, len(CATEGORIES)))
    optimizer = _optimizer(plan).init((parameters, probe))
    return graph, State(jnp.int32(0), parameters, probe, optimizer)


def _optimizer(plan: Plan) -> optax.GradientTransformation:
    fall = max(1, round(plan.decay * plan.steps))
    rate = optax.join_schedules(
        [
            optax.linear_schedule(0.0, plan.peak, plan.warm_up),
            optax.constant_schedule(plan.peak),
            optax.linear_schedule(plan.peak, 0.0, fall),
        ],
        [plan.warm_up, plan.steps - fall],
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(
            rate,
            b2=0.99,
            weight_decay=0.01,
            mask=lambda tree: jax.tree.map(lambda x: x.ndim == 2, tree),
        ),
    )


def forward(
    decoder: Decoder, tokens_BT: Int[Array, "B T"]
) -> tuple[Float[Array, "B T V"], Float[Array, "B T D"]]:
    """Logits, and the residual stream in the middle of the layers."""
    # Padding stands on the right, where no real token looks.
    places = Places.in_order(decoder.config, *tokens_BT.shape)
    x_BTD = decoder.embedding(tokens_BT, places.positions)
    middle_BTD = x_BTD
    for layer, block in enumerate(decoder.blocks):
        x_BTD, _ = block(x_BTD, places)
        if layer + 1 == decoder.config.layers // 2:
            middle_BTD = x_BTD
    return decoder.logits(x_BTD), middle_BTD


def loss(
    decoder: Decoder,
    probe: Float[Array, "D categories"],
    episodes: Episodes,
    label_weight: float,
    scaffold_weight: Float[Array, ""],
) -> tuple[Float[Array, ""], Metrics]:
    """Next-token loss of all tokens but labels, loss of the labels, and a scaffold.

    The tokens teach the categories. The labels alone hardly teach to use demonstrations: the
    query must match earlier label tokens by category, which helps only once those tokens carry
    the category of their text, which in turn helps only once they are matched. The model stays
    at chance for many hundred steps. The scaffold breaks the circle: a linear probe, thrown away
    after training, reads the category of each text from the middle of the layers at its label
    token and at the token before. It says nothing of which label goes with which category.
    """
    logits_BTV, middle_BTD = forward(decoder, episodes.tokens)
    log_p_BTV = jax.nn.log_softmax(logits_BTV[:, :-1])
    targets_BT = episodes.tokens[:, 1:]
    surprise_BT = -jnp.take_along_axis(log_p_BTV, targets_BT[..., None], axis=-1)[..., 0]
    label_BT = episodes.label[:, 1:]
    token_BT = episodes.real[:, 1:] & ~label_BT
    tokens = jnp.sum(surprise_BT * token_BT) / jnp.sum(token_BT)
    labels = jnp.sum(surprise_BT * label_BT) / jnp.sum(label_BT)

    examples = episodes.classes.shape[1]
    query_BE = jnp.argsort(~label_BT, axis=1, stable=True)[:, :examples]
    chosen_BEx2 = jnp.take_along_axis(
        jnp.take_along_axis(log_p_BTV, query_BE[..., None], axis=1),
        episodes.choices[:, None, :],
        axis=-1,
    )
    accuracy_E = jnp.mean(jnp.argmax(chosen_BEx2, axis=-1) == episodes.classes, axis=0)

    scaffold = jnp.float32(0)
    for position_BE in (query_BE, query_BE + 1):
        x_BED = jnp.take_along_axis(middle_BTD, position_BE[..., None], axis=1)
        x_BED = jax.nn.standardize(x_BED, epsilon=1e-5)
        guess = jax.nn.log_softmax(jnp.einsum("bed,dc->bec", x_BED, probe))
        right = jnp.take_along_axis(guess, episodes.categories[..., None], axis=-1)
        scaffold -= jnp.mean(right) / 2
    total = tokens + label_weight * labels + scaffold_weight * scaffold
    return total, Metrics(tokens, labels, scaffold, accuracy_E)


@functools.lru_cache(maxsize=4)
def make_step(plan: Plan, graph: nnx.GraphDef) -> Step:
    """The jitted step: ``(state, difficulty, scaffold weight, rows, examples)`` to the next.

    It compiles once for each batch shape of the plan.
    """
    words = language()
    optimizer = _optimizer(plan)

    @functools.partial(jax.jit, static_argnums=(3, 4))
    def step(
        state: State, difficulty: Difficulty, scaffold: Array, rows: int, examples: int
    ) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(plan.seed + 1), state.step)
        episodes = draw(words, difficulty, key, rows, examples)

        def objective(trained: tuple[nnx.State, Array]) -> tuple[Array, Metrics]:
            decoder = nnx.merge(graph, trained[0])
            return loss(decoder, trained[1], episodes, plan.label_weight, scaffold)

        trained = (state.parameters, state.probe)
        gradients, metrics = jax.grad(objective, has_aux=True)(trained)
        updates, moments = optimizer.update(gradients, state.optimizer, trained)
        parameters, probe = cast(Any, optax.apply_updates(cast(Any, trained), updates))
        return State(state.step + 1, parameters, probe, moments), metrics

    return step
