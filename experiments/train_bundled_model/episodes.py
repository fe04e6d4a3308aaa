r"""Training episodes of the bundled language, drawn inside the jitted step.

An episode is a row of examples ``text: {words}\nlabel : {label}\n`` of two categories that are
trained together. Its two label words are drawn anew, so which label goes with which category can
be known from the earlier examples of the row alone. As attention is causal, the label of every
example is a query with as many demonstrations as stand before it.

Letters: B episodes, E examples, S slots for words, T tokens of a row.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from experiments.train_bundled_model.tokenizer import vocabulary
from jaxsvd.tasks.words import CATEGORIES, CERTAIN, LABELS, LONGEST, NOISE, trained_pairs

TOKENS = LONGEST + 7
"""Most tokens in an example."""


class Language(NamedTuple):
    """Token ids of everything that an episode is made of."""

    words: Int[Array, "categories words"]
    noise: Int[Array, " noise"]
    labels: Int[Array, " labels"]
    pairs: Int[Array, "pairs two"]
    before: Int[Array, " before"]
    between: Int[Array, " between"]
    after: Int[Array, " after"]


class Difficulty(NamedTuple):
    """What the curriculum turns; traced, so that changing it compiles nothing.

    Attributes:
        labels: how many words of the label pool are in use.
        shortest: fewest words in a text.
        longest: most words in a text.
        noise: probability that a word beyond the first two is a noise word.
    """

    labels: Int[Array, ""]
    shortest: Int[Array, ""]
    longest: Int[Array, ""]
    noise: Float[Array, ""]


class Episodes(NamedTuple):
    """A batch of rows, padded on the right.

    Attributes:
        tokens: ids.
        real: False at padding.
        label: where the label words stand; E in each row.
        choices: ids of the row's two label words.
        classes: which of the two each example has.
        categories: of each example's text.
    """

    tokens: Int[Array, "B T"]
    real: Bool[Array, "B T"]
    label: Bool[Array, "B T"]
    choices: Int[Array, "B two"]
    classes: Int[Array, "B E"]
    categories: Int[Array, "B E"]


def language() -> Language:
    """The language in the bundled tokenizer's ids."""
    ids = vocabulary()

    def tokens(*pieces: str) -> Array:
        return jnp.array([ids[piece] for piece in pieces], jnp.int32)

    return Language(
        words=jnp.stack([tokens(*(f"Ġ{w}" for w in words)) for words in CATEGORIES.values()]),
        noise=tokens(*(f"Ġ{word}" for word in NOISE)),
        labels=tokens(*(f"Ġ{word}" for word in LABELS)),
        pairs=jnp.array(trained_pairs(), jnp.int32),
        before=tokens("text", ":"),
        between=tokens("Ċ", "label", "Ġ:"),
        after=tokens("Ċ"),
    )


def draw(
    language: Language, difficulty: Difficulty, key: PRNGKeyArray, rows: int, examples: int
) -> Episodes:
    """A batch of episodes.

    Args:
        language: see :func:`language`.
        difficulty: of this step.
        key: of this step.
        rows: B.
        examples: E.

    Returns:
        Rows of ``E * TOKENS`` tokens.
    """
    keys = jax.random.split(key, 6)
    pairs_Bx2 = jax.random.permutation(
        keys[0],
        language.pairs[jax.random.randint(keys[3], (rows,), 0, len(language.pairs))],
        axis=1,
        independent=True,
    )
    first_B = jax.random.randint(keys[1], (rows,), 0, difficulty.labels)
    step_B = jax.random.randint(keys[2], (rows,), 1, difficulty.labels)
    choices_Bx2 = language.labels[
        jnp.stack([first_B, (first_B + step_B) % difficulty.labels], axis=1)
    ]
    classes_BE = jax.random.randint(keys[4], (rows, examples), 0, 2)
    categories_BE = jnp.take_along_axis(pairs_Bx2, classes_BE, axis=1)
    words_BES, used_BES = _texts(language, difficulty, keys[5], categories_BE)
    labels_BE = jnp.take_along_axis(choices_Bx2, classes_BE, axis=1)
    tokens_BT, real_BT, label_BT = _rows(language, words_BES, used_BES, labels_BE)
    return Episodes(tokens_BT, real_BT, label_BT, choices_Bx2, classes_BE, categories_BE)


def _texts(
    language: Language, difficulty: Difficulty, key: PRNGKeyArray, categories_BE: Array
) -> tuple[Array, Array]:
    """Words of each text, ``[B, E, S]``, and which slots are in use."""
    keys = jax.random.split(key, 5)
    shape = (*categories_BE.shape, LONGEST)
    # Distinct words of the category: the first S of a random order.
    order = jnp.argsort(
        jax.random.uniform(keys[0], (*categories_BE.shape, language.words.shape[1])), axis=-1
    )
    words_BES = jnp.take_along_axis(language.words[categories_BE], order[..., :LONGEST], axis=-1)
    noise_BES = language.noise[jax.random.randint(keys[1], shape, 0, len(language.noise))]
    noisy_BES = jax.random.bernoulli(keys[2], difficulty.noise, shape)
    words_BES = jnp.where(noisy_BES & (jnp.arange(LONGEST) >= CERTAIN), noise_BES, words_BES)
    length_BE = jax.random.randint(
        keys[3], categories_BE.shape, difficulty.shortest, difficulty.longest + 1
    )
    used_BES = jnp.arange(LONGEST) < length_BE[..., None]
    # Shuffled, so that noise may stand anywhere; the gaps close in _rows.
    shuffle = jnp.argsort(jax.random.uniform(keys[4], shape), axis=-1)
    return (
        jnp.take_along_axis(words_BES, shuffle, axis=-1),
        jnp.take_along_axis(used_BES, shuffle, axis=-1),
    )


def _rows(
    language: Language, words_BES: Array, used_BES: Array, labels_BE: Array
) -> tuple[Array, Array, Array]:
    """Tokens of the rows, which are real, which are labels; all ``[B, T]``."""
    batch = labels_BE.shape

    def fixed(ids: Array) -> Array:
        return jnp.broadcast_to(ids, (*batch, len(ids)))

    parts = [
        fixed(language.before),
        words_BES,
        fixed(language.between),
        labels_BE[..., None],
        fixed(language.after),
    ]
    used = [jnp.ones(part.shape, bool) for part in parts]
    used[1] = used_BES
    label = [jnp.zeros(part.shape, bool) for part in parts]
    label[3] = jnp.ones((*batch, 1), bool)

    def flat(arrays: list[Array]) -> Array:
        return jnp.concatenate(arrays, axis=-1).reshape(batch[0], -1)

    real_BT = flat(used)
    close = jnp.argsort(~real_BT, axis=1, stable=True)  # unused slots go to the end of the row
    tokens_BT, real_BT, label_BT = (
        jnp.take_along_axis(array, close, axis=1) for array in (flat(parts), real_BT, flat(label))
    )
    return tokens_BT * real_BT, real_BT, label_BT
