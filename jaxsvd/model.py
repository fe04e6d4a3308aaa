"""A loaded model: decoder, tokenizer, and where they came from."""

import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float32, Int, PRNGKeyArray

from jaxsvd.checkpoints.export import written_dtype
from jaxsvd.checkpoints.factored import Pair, without_factors
from jaxsvd.checkpoints.gguf import header
from jaxsvd.checkpoints.gguf.header import is_gguf
from jaxsvd.checkpoints.gguf.weights import is_quantized
from jaxsvd.checkpoints.gguf.weights import quantization as quantization_of
from jaxsvd.checkpoints.hub import model_directory, read_raw_config, recorded_source
from jaxsvd.checkpoints.load import Origin, load_checkpoint, parameter_shapes
from jaxsvd.checkpoints.save import full_disk_as_user_error
from jaxsvd.devices import sharding
from jaxsvd.devices.backend import require_backend
from jaxsvd.devices.sharding import ONE, Axes
from jaxsvd.edits.card import Format
from jaxsvd.edits.decoder import edited_decoder
from jaxsvd.edits.edit import CALIBRATED, Edit, Edits, as_edits, format_edits, matrix_edits
from jaxsvd.edits.provenance import Provenance, read_provenance
from jaxsvd.edits.replacement import parameter_path
from jaxsvd.edits.saving import SavedModel
from jaxsvd.engine import memory
from jaxsvd.engine.engine import Engine
from jaxsvd.engine.input_statistics import InputStatistics
from jaxsvd.engine.variants import Place
from jaxsvd.generation.texts import end_tokens, generated
from jaxsvd.generation.tokens import BATCH
from jaxsvd.models import notices, read_known
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Decoder
from jaxsvd.models.matrices import matrices
from jaxsvd.runtime.errors import UserError
from jaxsvd.runtime.progress import SILENT, Progress

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder with its weights, and what belongs to it.

    Attributes:
        config: shape and style.
        decoder: the Flax NNX module with the weights.
        hf_config: config.json as it was read, without what only jaxsvd writes there.
        source: absolute path of a directory, or hub id; ``"bundled"`` for the bundled model.
        revision: on the hub, as given.
        directory: where the files are; of a GGUF model the file.
        dtype: of weights and computation, by name.
        load_seconds: how long loading took.
        mesh: the devices that share the weights; None for one (:mod:`jaxsvd.devices.sharding`).
        edits: what was done to the weights since they were loaded, in that order.
        factors: the matrices that are of low rank by these edits, or that the files hold as
            products, by their paths in the decoder; the engine multiplies them as such.
        quantization: of the file that the weights were dequantised from (``"Q4_K_M"``), if any.
        origins: how the files hold each parameter, by path; saving keeps to it.
        unedited: source before any of the edits; None where there are none.
        recorded: what the files themselves say that they were made of, if they were edited.
    """

    config: DecoderConfig
    decoder: Decoder
    hf_config: Mapping[str, Any]
    source: str
    revision: str | None
    directory: Path
    dtype: str
    load_seconds: float = 0.0
    mesh: Mesh | None = None
    edits: Edits = ()
    factors: Mapping[str, Pair] = dataclasses.field(default_factory=dict)
    quantization: str | None = None
    origins: Mapping[str, Origin] = dataclasses.field(default_factory=dict)
    unedited: str | None = None
    recorded: Provenance | None = None

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The checkpoint's own tokenizer: a :class:`jaxsvd.tokenizer.tokenizer.Tokenizer`.

        One of transformers where the directory has neither tokenizer.json nor tokenizer.model.

        Raises:
            UserError: none there, or damaged.
        """
        return load_tokenizer(self.directory)

    @functools.cached_property
    def engine(self) -> Engine:
        """Scores many prompts under many variants of the weights, which it shares."""
        return Engine.of(self.decoder, self.mesh, self._factors_by_place())

    def _factors_by_place(self) -> dict[Place, Pair]:
        """The matrices that are multiplied as products; on a mesh none."""
        if self.mesh is not None:
            return {}
        places = itertools.product(range(self.config.layers), matrices(self.config, "all"))
        paths = {place: parameter_path(*place) for place in places}
        return {place: self.factors[p] for place, p in paths.items() if p in self.factors}

    @functools.cached_property
    def parameters(self) -> int:
        """Number of parameters; a tied unembedding counts once."""
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self.decoder)))

    def logits(
        self,
        token_ids: Int[Array, "batch length"] | Int[np.ndarray, "batch length"],
        mask: Bool[Array, "batch length"] | Bool[np.ndarray, "batch length"] | None = None,
    ) -> Float32[Array, "batch length vocabulary"]:
        """Logits of the next token after every position.

        Args:
            token_ids: within the vocabulary.
            mask: False at padding, on either side; positions count the real tokens only, and
                the logits at padding mean nothing.

        Raises:
            UserError: ids outside the vocabulary, more tokens than the model's context, or shapes
                that do not fit.
        """
        ids = np.asarray(token_ids)
        if ids.ndim != 2 or not ids.size or not np.issubdtype(ids.dtype, np.integer):
            raise UserError(
                f"token_ids should be integers [batch, length], not empty; got {ids.dtype} "
                f"{list(ids.shape)}"
            )
        if mask is not None and np.shape(mask) != ids.shape:
            raise UserError(f"mask has shape {list(np.shape(mask))}, token_ids {list(ids.shape)}")
        if ids.shape[1] > self.config.context:
            raise UserError(
                f"{ids.shape[1]} tokens are more than the model's context of {self.config.context}"
            )
        if not 0 <= ids.min() <= ids.max() < self.config.vocabulary:
            raise UserError(
                f"token ids should be 0 to {self.config.vocabulary - 1}, "
                f"got {ids.min()} to {ids.max()}"
            )
        graph, state = nnx.split(self.decoder)
        if self.mesh is not None:
            return _logits(graph, state, ids, None if mask is None else np.asarray(mask), self.mesh)
        return _logits(graph, state, jnp.asarray(ids), None if mask is None else jnp.asarray(mask))

    def generate(
        self,
        texts: Sequence[str],
        *,
        max_new_tokens: int = 64,
        temperature: float = 0.0,
        key: PRNGKeyArray | None = None,
        seed: int = 0,
        stop: str | Sequence[str] = (),
        batch: int = BATCH,
        progress: Progress = SILENT,
    ) -> list[str]:
        """What the model writes after each text.

        A text ends where the model writes its own end of text, or a text of ``stop``.

        Args:
            texts: the prompts, encoded with the special tokens that the tokenizer puts before.
            max_new_tokens: of each text; with its prompt's within the context.
            temperature: 0 for the likeliest token each time, else tokens are drawn from
                softmax(logits / temperature).
            key: of the draws; those of a text depend on its place in ``texts`` and on no other.
            seed: makes the key where none is given.
            stop: one or several; what was written is cut before the first.
            batch: prompts continued at a time.
            progress: where to show it.

        Returns:
            What follows each prompt, without it.

        Raises:
            UserError: a number out of range, an empty prompt, one too long for the context, or no
                tokenizer.
        """
        return generated(
            self.decoder,
            self.tokenizer,
            texts,
            stop_tokens=self.end_tokens,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            key=key,
            seed=seed,
            stop=stop,
            batch=batch,
            mesh=self.mesh,
            progress=progress,
        )

    @functools.cached_property
    def end_tokens(self) -> list[int]:
        """Ids of the tokens that end a text.

        By generation_config.json, else config.json, else the tokenizer.
        """
        try:
            text = (self.directory / "generation_config.json").read_text("utf-8")
            generation = json.loads(text)
        except (OSError, ValueError):  # there need not be one
            generation = {}
        generation = generation if isinstance(generation, dict) else {}
        return end_tokens(self.hf_config, self.tokenizer, generation)

    def edited(
        self,
        edits: Edit | str | Iterable[Edit],
        *,
        statistics: InputStatistics | None = None,
        progress: Progress = SILENT,
    ) -> "Model":
        """The model with some matrices edited; shares all other weights with this one.

        An edited model is a model: it may be edited again, and remembers all of its edits.

        Args:
            edits: one, several of different matrices, or as they are written
                (``26:mlp:0.95+25:attn:0.9``).
            statistics: of what the matrices read, for methods that are calibrated
                (:mod:`jaxsvd.train_statistics`).
            progress: where to show it.

        Raises:
            UserError: a layer or module that the model does not have, more of a matrix than there
                is, a matrix edited twice in one call, or an edit without the statistics that it
                needs.
        """
        edits = tuple(edit.resolved(self.config) for edit in as_edits(edits))
        by_matrix = matrix_edits(edits, self.config)
        decoder, pairs = edited_decoder(
            self.decoder, by_matrix, self.mesh, statistics=statistics, progress=progress
        )
        factors = {**self.factors, **pairs}
        source = self.source
        if by_matrix:  # no run of this model is to be taken for one of the untouched
            source += f", edited {format_edits(edit for edit in edits if edit.touches)}"
        if statistics is not None and any(edit.method in CALIBRATED for edit in by_matrix):
            source += f" by inputs of {statistics.source}"
        return dataclasses.replace(
            self,
            decoder=decoder,
            source=source,
            unedited=self.unedited or self.source,
            edits=(*self.edits, *edits),
            factors={path: pair for path, pair in factors.items() if pair is not None},
        )

    @property
    def history(self) -> Edits:
        """Every edit of the weights, in order: those that the files tell of, and those since."""
        return (*(self.recorded.edits if self.recorded else ()), *self.edits)

    @property
    def provenance(self) -> Provenance:
        """What the weights were made of first, and every edit since."""
        if self.recorded is not None:
            return dataclasses.replace(self.recorded, edits=self.history)
        source = self.unedited or self.source
        return Provenance(source, self.revision, self.quantization, self.edits)

    def save(
        self,
        directory: str | Path,
        *,
        format: Format = "dense",
        factored: bool = False,
        measured: str = "",
    ) -> None:
        """Write the model in Hugging Face layout, with its tokenizer; it appears whole or not.

        Weights are written in the dtype and the shards of the files that they were read from; a
        dtype wider than the model was loaded in becomes that. config.json keeps the history of
        the edits, and README.md is a model card.

        Args:
            directory: a new one.
            format: ``dense``: whole matrices. ``lora``: what the edits removed, as a PEFT adapter
                of the source (:mod:`jaxsvd.checkpoints.adapter`). ``factored``: truncated
                matrices as two factors (:mod:`jaxsvd.checkpoints.factored`), smaller wherever
                rank (rows + columns) < rows columns; only jaxsvd reads it.
            factored: the same as that format.
            measured: for the card, in Markdown: such as what a search measured.

        Raises:
            UserError: the directory exists already or cannot be written; a format of factors where
                nothing was truncated, or where it would hold more numbers than whole matrices
                (``lora``).
        """
        path = Path(directory)
        format = "factored" if factored else format
        saved = SavedModel(
            decoder=self.decoder,
            hf_config=self.hf_config,
            directory=self.directory,
            base=self.unedited or self.source,
            revision=self.revision,
            edits=self.edits,
            factors=self.factors,
            origins=self.origins,
            provenance=self.provenance if self.history else None,
            measured=measured,
        )
        with full_disk_as_user_error(path):
            saved.write(path, format)

    @property
    def written_dtypes(self) -> set[np.dtype]:
        """Those of the files that :meth:`save` writes."""
        own = np.dtype(self.decoder.dtype)
        origins = (self.origins.get(path) for path in parameter_shapes(self.config))
        return {written_dtype(origin, own) for origin in origins}

    def stored_parameters(self, *, format: Format = "dense", factored: bool = False) -> int:
        """How many numbers :meth:`save` writes; of an adapter see :mod:`~.checkpoints.adapter`."""
        if format != "factored" and not factored:
            return self.parameters
        shapes = parameter_shapes(self.config)
        dense = sum(shapes[path][0] * shapes[path][1] for path in self.factors)
        kept = sum(pair.left.size + pair.right.size for pair in self.factors.values())
        return self.parameters - dense + kept


@functools.partial(jax.jit, static_argnums=(0, 4))
def _logits(
    graph: nnx.GraphDef, state: nnx.State, tokens: Any, mask: Any, mesh: Mesh | None = None
) -> Array:
    tokens, mask = sharding.rows_over(mesh, (tokens, mask))
    return sharding.everywhere(mesh, nnx.merge(graph, state)(tokens, mask)[0])


def load(
    source: str | Path | None = None,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    mesh: str | Axes | None = "auto",
    progress: Progress = SILENT,
) -> Model:
    """Load a model.

    Args:
        source: a directory in Hugging Face layout, a GGUF file or a directory that holds one, or
            a hub id; the bundled model if left out.
        revision: branch, tag or commit on the hub.
        dtype: ``"float32"`` or ``"bfloat16"``, whatever the files hold.
        mesh: ``"data=4,model=2"`` (rows of a batch over 4 groups of devices, weights over the 2 of
            each), or ``"auto"``: all devices, the weights over as few as have room for them; None
            is one device.
        progress: where to show it, and a mesh that was chosen.

    Raises:
        UserError: no such model, one that does not fit the devices' memory or the mesh, an
            unsupported one, or a damaged one; one line with all that is wrong.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype = {dtype!r} should be one of {', '.join(DTYPES)}")
    start = time.perf_counter()
    require_backend()

    def axes_for(config: DecoderConfig) -> Axes:
        return (
            memory.choose_axes(config, dtype) if mesh == "auto" else sharding.axes_of(mesh or ONE)
        )

    def check_memory(config: DecoderConfig) -> None:
        memory.check(config, dtype, axes_for(config), str(source or "the bundled model"))

    directory = model_directory(source, revision, judge=check_memory)
    raw, path = read_raw_config(directory)
    whole = raw
    raw, ranks = without_factors(raw, path)
    config, family, unknown = read_known(raw, str(path))
    recorded = read_provenance(whole, config, str(path))
    for notice in notices(raw):
        progress.notice(notice)
    axes = axes_for(config)
    check_memory(config)
    devices = sharding.make_mesh(axes)
    if mesh == "auto" and devices is not None:
        progress.notice(f"mesh {axes} over {axes.devices} devices")
    checkpoint = load_checkpoint(
        directory,
        config,
        family,
        dtype=DTYPES[dtype],
        ranks=ranks,
        mesh=devices,
        problems=unknown,
        progress=progress,
    )
    quantization = None
    if is_gguf(directory) and is_quantized(gguf_header := header.read(directory)):
        quantization = quantization_of(gguf_header)
        progress.notice(
            f"the file's weights are quantised ({quantization}); they are dequantised to {dtype}, "
            "and it is the dequantised weights that are truncated"
        )
    if is_gguf(directory):  # programs that serve models go by transformers' class
        raw["architectures"] = [family.architecture]
    name = recorded_source(source, directory)
    seconds = time.perf_counter() - start
    return Model(
        config=config,
        decoder=checkpoint.decoder,
        hf_config=raw,
        source=name,
        revision=revision,
        directory=directory,
        dtype=dtype,
        load_seconds=seconds,
        mesh=devices,
        quantization=quantization,
        factors=checkpoint.factors,
        origins=checkpoint.origins,
        recorded=recorded,
    )


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a model directory (:mod:`jaxsvd.tokenizer.load`).

    Raises:
        UserError: none there, or damaged.
    """
    from jaxsvd.tokenizer.load import load as read

    return read(directory)
