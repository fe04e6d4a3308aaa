"""From texts to texts: what a model writes after a prompt, cut where it should end."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from jaxsvd.generation.tokens import BATCH, continued
from jaxsvd.models.decoder import Decoder
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress
from jaxsvd.tokenizer.tokenizer import appended


def generated(
    decoder: Decoder,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    stop_tokens: Sequence[int],
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    key: PRNGKeyArray | None = None,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    batch: int = BATCH,
    mesh: Mesh | None = None,
    progress: Progress = SILENT,
) -> list[str]:
    """What a decoder writes after each text; see :meth:`jaxsvd.model.Model.generate`.

    Args:
        decoder: with the weights.
        tokenizer: of the model.
        texts: the prompts.
        stop_tokens: that end a text, as the model says (:func:`end_tokens`).
        max_new_tokens: see there, as for all the others.
        temperature: likewise.
        key: likewise.
        seed: likewise.
        stop: likewise.
        batch: likewise.
        mesh: the devices that share the weights.
        progress: where to show it.

    Raises:
        UserError: a number out of range, an empty prompt, or one too long for the context.
    """
    if isinstance(texts, str):
        raise UserError(f"texts should be a list of texts, got the text {texts[:40]!r}")
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens = {max_new_tokens} should be at least 1")
    if not 0 <= temperature < float("inf"):
        raise UserError(f"temperature = {temperature} should be 0 (greedy) or more")
    ends = [stop] if isinstance(stop, str) else list(stop)
    if "" in ends:
        raise UserError("a text of stop is empty: every text would end before it begins")
    dropped = appended(tokenizer)
    prompts = [tokenizer.encode(text) for text in texts]
    prompts = [ids[: len(ids) - dropped] for ids in prompts]
    for text, ids in zip(texts, prompts, strict=True):
        if not ids:
            raise UserError(f"the prompt {text!r} has no tokens")
        if len(ids) + max_new_tokens > decoder.config.context:
            raise UserError(
                f"a prompt of {len(ids)} tokens and {max_new_tokens} new ones are more than the "
                f"model's context of {decoder.config.context}: {text[:40]!r}"
            )
    ids_of = set(stop_tokens)

    def text_of(ids: Sequence[int]) -> str:
        kept = ids[:-1] if ids and ids[-1] in ids_of else ids
        return tokenizer.decode(kept, skip_special_tokens=True)

    written = [""] * len(texts)
    with progress.bar("writing", len(texts), "texts") as advance:
        for i, ids in continued(
            decoder,
            prompts,
            max_new_tokens=max_new_tokens,
            stop_tokens=stop_tokens,
            temperature=temperature,
            key=jax.random.key(seed) if key is None else key,
            complete=(lambda ids: cut(text_of(ids), ends) != text_of(ids)) if ends else None,
            batch=batch,
            mesh=mesh,
        ):
            before = tokenizer.decode(prompts[i], skip_special_tokens=True)
            whole = text_of([*prompts[i], *ids])
            # Some tokenizers drop the space before a first word: with the prompt it is kept.
            own = whole[len(before) :] if whole.startswith(before) else text_of(ids)
            written[i] = cut(own, ends)
            advance(1)
    return written


def cut(text: str, ends: Sequence[str]) -> str:
    """A text up to the first of some others in it, which is left out."""
    places = [place for end in ends if (place := text.find(end)) >= 0]
    return text[: min(places)] if places else text


def end_tokens(
    hf_config: Mapping[str, Any], tokenizer: Any, generation: Mapping[str, Any]
) -> list[int]:
    """Ids of the tokens that end a text, by generation_config.json, config.json and tokenizer.

    The first of them that names any decides, in this order, as in transformers.

    Args:
        hf_config: config.json.
        tokenizer: of the model.
        generation: generation_config.json; empty where there is none.
    """
    candidates = (
        generation.get("eos_token_id"),
        hf_config.get("eos_token_id"),
        getattr(tokenizer, "eos_token_id", None),
    )
    for value in candidates:
        if value is not None:
            return [int(i) for i in (value if isinstance(value, list) else [value])]
    return []
