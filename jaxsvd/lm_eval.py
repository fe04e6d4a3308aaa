"""A model of ours, as it is or edited, in lm-evaluation-harness (extra ``lm-eval``).

``lm_eval run --model jaxsvd --model_args pretrained=MODEL,edits=26:mlp:0.95+25:attn:0.9`` where the
harness knows installed backends (from 0.4.14), ``jaxsvd lm-eval run ...`` everywhere. Texts are
encoded and cut as the harness's own ``hf`` backend does it, so that the results are the same.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs  # pyright: ignore[reportMissingImports]
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window  # pyright: ignore[reportMissingImports]

import jaxsvd
from jaxsvd.checkpoints import fingerprint
from jaxsvd.edits.edit import format_edits
from jaxsvd.engine.requests import Request
from jaxsvd.generation.texts import cut
from jaxsvd.generation.tokens import BATCH, continued
from jaxsvd.runtime.errors import UserError

CACHE_KEY = "jaxsvd model"
"""Under which a database of cached answers keeps what they are answers of."""

FAMILY_TOKENS, FAMILY_SIZE = 64, 8
"""Contexts that share so many first tokens share their computation, if there are so many of them.

Of fewer, a batch of their own costs more than what is shared.
"""

Tokens = list[int]
TokenRequest = tuple[tuple[str, str] | None, Tokens, Tokens]


@register_model("jaxsvd")
class JaxsvdLM(TemplateLM):
    """The harness's view of a :class:`~jaxsvd.model.Model`."""

    SETTINGS: ClassVar = {"do_sample", "temperature", "until", "max_gen_toks", "num_beams"}

    def __init__(
        self,
        pretrained: str | None = None,
        edits: str | None = None,
        dtype: str = "float32",
        revision: str | None = None,
        max_length: int | None = None,
        max_gen_toks: int = 256,
        add_bos_token: bool | None = None,
        seed: int = 0,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        """Load a model.

        Args:
            pretrained: as :func:`jaxsvd.load` takes it; the bundled model if left out.
            edits: as they are written: ``26:mlp:0.95+25:attn:0.9``.
            dtype: ``float32`` or ``bfloat16``.
            revision: on the hub.
            max_length: most tokens of a text; the model's context if left out.
            max_gen_toks: most tokens that are written, where a task does not say.
            add_bos_token: whether texts begin with special tokens; as the tokenizer does if left
                out.
            seed: of sampled texts.
            batch_size: texts continued at a time; 16 for ``auto``. Log-likelihoods are packed by
                tokens instead.
            max_batch_size: a bound on it.
            device: kept for the record: JAX chooses.

        Raises:
            UserError: no such model, or an edit that it does not have.
        """
        super().__init__()
        model = jaxsvd.load(pretrained, revision=revision, dtype=dtype)
        self.model = model.edited(edits) if edits else model
        self.added, self.max_gen_toks, self.seed = add_bos_token, int(max_gen_toks), int(seed)
        context = model.config.context
        self.max_length = context if max_length is None else int(max_length)
        if not 1 <= self.max_length <= context:
            raise UserError(f"max_length = {max_length} should be 1 to the context of {context}")
        chosen = BATCH if batch_size is None or str(batch_size).startswith("auto") else batch_size
        self.batch_size = min(int(chosen), max_batch_size or int(chosen))
        self.max_batch_size = max_batch_size
        self._device = device or jax.devices()[0].platform
        self._templates: Any = None

    @property
    def eot_token_id(self) -> int:
        """Ends a text.

        Raises:
            UserError: neither the tokenizer nor the model's files name one.
        """
        token = self.model.tokenizer.eos_token_id
        named = self.model.end_tokens if token is None else [token]
        if not named:
            raise UserError(f"{self.model.source} names no token that ends a text")
        return named[0]

    @property
    def prefix_token_id(self) -> int:
        """Stands before a text that has no context."""
        token = self.model.tokenizer.bos_token_id
        return self.eot_token_id if token is None else token

    def _begins_with_prefix(self, text: str) -> bool:
        tokenizer = self.model.tokenizer
        if tokenizer.bos_token_id is None and not self.model.end_tokens:
            return False
        prefix = tokenizer.decode([self.prefix_token_id])
        return bool(prefix) and text.startswith(prefix)

    @property
    def tokenizer_name(self) -> str:
        """For the harness's names of files."""
        return self.model.source.replace("/", "__")

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> Tokens:
        """Token ids; a text that begins with the prefix token's text gets no second one."""
        del kwargs
        added = self.added if add_special_tokens is None else add_special_tokens
        if add_special_tokens is None and self._begins_with_prefix(string):
            added = False
        return list(self.model.tokenizer.encode(string, add_special_tokens=added is None or added))

    @property
    def _template_tokenizer(self) -> Any:
        if self._templates is None:
            from transformers import AutoTokenizer

            self._templates = AutoTokenizer.from_pretrained(self.model.directory)
        return self._templates

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The checkpoint's template, or the one of a name; None if none is wanted or there."""
        if chat_template is False or chat_template is None:
            return None
        name = chat_template if isinstance(chat_template, str) else None
        return self._template_tokenizer.get_chat_template(name)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Messages as one text, by the checkpoint's own template."""
        return self._template_tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    def get_model_info(self) -> dict[str, Any]:
        """For the results: which model, and what was done to its weights."""
        return {
            "model_source": self.model.source,
            "model_num_parameters": self.model.parameters,
            "model_dtype": self.model.dtype,
            "model_edits": format_edits(self.model.history),
            "model_digest": self.digest,
            "jaxsvd_version": jaxsvd.__version__,
        }

    @property
    def digest(self) -> str:
        """Of all that answers depend on: the checkpoint, edits, dtype, and how texts are cut."""
        parts = (
            fingerprint.of_model(self.model.directory),
            format_edits(self.model.history),
            self.model.dtype,
            f"{self.max_length} {self.added}",
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Keep this model's digest in a database of cached answers.

        The harness knows an answer by its request alone.

        Raises:
            UserError: the answers there are another model's, or nobody says whose.
        """
        answers = cache_hook.dbdict
        if answers is not None:
            whose = answers.get(CACHE_KEY)
            if whose is None and len(answers):
                raise UserError(
                    "the cache of answers does not say which model they are of; give --use_cache "
                    "another path"
                )
            if whose is not None and whose != self.digest:
                raise UserError(
                    f"the cache holds answers of another checkpoint, edit or dtype ({whose}, not "
                    f"{self.digest}); give --use_cache another path"
                )
            answers[CACHE_KEY] = self.digest
        super().set_cache_hook(cache_hook)

    def _loglikelihood_tokens(
        self, requests: Sequence[TokenRequest], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether greedy decoding writes it.

        Continuations of one context are scored as one request of the engine.
        """
        del kwargs
        by_context: dict[tuple[int, ...], dict[tuple[int, ...], list[int]]] = defaultdict(dict)
        for i, (_, context, continuation) in enumerate(requests):
            if not 1 <= len(continuation) <= self.max_length:
                raise UserError(
                    f"a continuation of {len(continuation)} tokens should have 1 to "
                    f"{self.max_length}"
                )
            # The last token is scored, not read.
            kept = (context + continuation)[-(self.max_length + 1) : -len(continuation)]
            by_context[tuple(kept)].setdefault(tuple(continuation), []).append(i)
        results: list[tuple[float, bool]] = [(math.nan, False)] * len(requests)
        contexts = list(by_context.items())
        families = _families([context for context, _ in contexts])
        scored = self.model.engine.score(
            [
                Request(context, list(wanted), "log-likelihood and shortfall", family)
                for (context, wanted), family in zip(contexts, families, strict=True)
            ]
        )
        for _, r, scores in scored:
            wanted = contexts[r][1]
            for c, members in enumerate(wanted.values()):
                answer = float(scores[c]), bool(scores[len(wanted) + c] == 0)
                for i in members:
                    results[i] = answer
                    if (texts := requests[i][0]) is not None:
                        self.cache_hook.add_partial("loglikelihood", texts, answer)
        return results

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of each whole text, window by window as the harness cuts it."""
        del disable_tqdm
        windows: list[TokenRequest] = []
        texts: list[int] = []
        for number, request in enumerate(requests):
            cuts = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            own = [(None, *make_disjoint_window(pair)) for pair in cuts]
            windows += own
            texts += [number] * len(own)
        scored = self._loglikelihood_tokens(windows)
        values = [value for value, _ in scored]
        sums = np.bincount(texts, values, minlength=len(requests))
        totals = [float(total) for total in sums]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to the first text that ends it.

        Raises:
            UserError: a setting of generation that is not supported, or no room for a context.
        """
        del disable_tqdm
        results = [""] * len(requests)
        alike: dict[str, list[int]] = defaultdict(list)
        for i, request in enumerate(requests):
            alike[repr(request.args[1])].append(i)
        for members in alike.values():
            for i, text in self._continued(
                [requests[i].args[0] for i in members], requests[members[0]].args[1]
            ):
                results[members[i]] = text
                answered = requests[members[i]].args
                self.cache_hook.add_partial("generate_until", answered, text)
        return results

    def _continued(
        self, contexts: Sequence[str], settings: dict[str, Any]
    ) -> Iterable[tuple[int, str]]:
        settings = dict(normalize_gen_kwargs(settings, self.max_gen_toks))
        unknown = settings.keys() - self.SETTINGS
        if unknown or settings.get("num_beams", 1) != 1:
            names = ", ".join(sorted(unknown)) or "num_beams"
            raise UserError(f"generation_kwargs: {names} is not supported")
        tokenizer, count = self.model.tokenizer, settings["max_gen_toks"]
        ends = handle_stop_sequences(settings["until"], eos=tokenizer.decode([self.eot_token_id]))
        ends = [end for end in ends if end]
        room = self.max_length - count
        if room < 1:
            raise UserError(
                f"max_gen_toks = {count} leaves no room for a context: the model takes "
                f"{self.max_length} tokens"
            )

        def text_of(ids: Tokens) -> str:
            return tokenizer.decode(ids, skip_special_tokens=True)

        def complete(ids: Tokens) -> bool:
            text = text_of(ids)
            return any(end in text for end in ends)

        for i, ids in continued(
            self.model.decoder,
            [self.tok_encode(context)[-room:] for context in contexts],
            max_new_tokens=count,
            stop_tokens=[self.eot_token_id, *self.model.end_tokens],
            temperature=settings["temperature"] if settings["do_sample"] else 0.0,
            key=jax.random.key(self.seed),
            complete=complete,
            batch=self.batch_size,
            mesh=self.model.mesh,
        ):
            yield i, cut(text_of(ids), ends)


def _families(contexts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...] | None]:
    """Which contexts to compute what they share of once: those that begin alike, if many do."""
    members: dict[tuple[int, ...], int] = defaultdict(int)
    for context in contexts:
        members[context[:FAMILY_TOKENS]] += 1

    def family(context: tuple[int, ...]) -> tuple[int, ...] | None:
        first = context[:FAMILY_TOKENS]
        whole = len(context) > FAMILY_TOKENS
        return first if whole and members[first] >= FAMILY_SIZE else None

    return [family(context) for context in contexts]
