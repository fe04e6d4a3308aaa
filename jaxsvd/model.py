"""A loaded model: decoder, tokenizer, and where they came from."""

import dataclasses
import functools
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float32, Int

from jaxsvd.checkpoints.factored import Pair, without_factors
from jaxsvd.checkpoints.gguf import header
from jaxsvd.checkpoints.gguf.header import is_gguf
from jaxsvd.checkpoints.gguf.weights import is_quantized
from jaxsvd.checkpoints.gguf.weights import quantization as quantization_of
from jaxsvd.checkpoints.hub import model_directory, read_raw_config, recorded_source
from jaxsvd.checkpoints.load import load_decoder, parameter_shapes, save_decoder
from jaxsvd.checkpoints.save import copy_tokenizer, full_disk_as_user_error
from jaxsvd.devices import sharding
from jaxsvd.devices.backend import require_backend
from jaxsvd.devices.sharding import ONE, Axes
from jaxsvd.edits.decoder import edited_decoder
from jaxsvd.edits.edit import Edit, Edits, as_edits, format_edits, matrix_edits
from jaxsvd.engine import memory
from jaxsvd.engine.engine import Engine
from jaxsvd.models import FAMILIES, notices, read_known
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.decoder import Decoder
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
        factors: the matrices that are of low rank by these edits, as products, by their paths in
            the decoder.
        quantization: of the file that the weights were dequantised from (``"Q4_K_M"``), if any.
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
        return Engine.of(self.decoder, self.mesh)

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

    def edited(self, edits: Edit | str | Iterable[Edit], *, progress: Progress = SILENT) -> "Model":
        """The model with some matrices edited; shares all other weights with this one.

        An edited model is a model: it may be edited again, and remembers all of its edits.

        Args:
            edits: one, several of different matrices, or as they are written
                (``26:mlp:0.95+25:attn:0.9``).
            progress: where to show it.

        Raises:
            UserError: a layer or module that the model does not have, more of a matrix than there
                is, or a matrix edited twice in one call.
        """
        edits = tuple(edit.resolved(self.config) for edit in as_edits(edits))
        by_matrix = matrix_edits(edits, self.config)
        decoder, made = edited_decoder(self.decoder, by_matrix, self.mesh, progress=progress)
        factors = {**self.factors, **made}
        source = self.source
        if by_matrix:  # no run of this model is to be taken for one of the untouched
            source += f", edited {format_edits(edit for edit in edits if edit.touches)}"
        return dataclasses.replace(
            self,
            decoder=decoder,
            source=source,
            edits=(*self.edits, *edits),
            factors={path: pair for path, pair in factors.items() if pair is not None},
        )

    def save(self, directory: str | Path, *, factored: bool = False) -> None:
        """Write the model in Hugging Face layout, with its tokenizer.

        Args:
            directory: a new one.
            factored: keep truncated matrices as two factors
                (:mod:`jaxsvd.checkpoints.factored`): smaller wherever
                rank (rows + columns) < rows columns. Only jaxsvd reads it.

        Raises:
            UserError: the directory exists already or cannot be written, or there are no factors
                because nothing was truncated.
        """
        path = Path(directory)
        if factored and not self.factors:
            raise UserError(_no_factors(self.edits))
        with full_disk_as_user_error(path):
            save_decoder(
                self.decoder,
                FAMILIES[self.config.family],
                self.hf_config,
                path,
                write_companions=self._write_tokenizer,
                factors=self.factors if factored else {},
            )

    def _write_tokenizer(self, directory: Path) -> None:
        """Into a directory that is being written; of a GGUF file as tokenizer.json."""
        if is_gguf(self.directory):
            from jaxsvd.tokenizer import gguf

            gguf.save(self.directory, directory)
        else:
            copy_tokenizer(self.directory, directory)

    def stored_parameters(self, *, factored: bool = False) -> int:
        """How many numbers :meth:`save` writes."""
        if not factored:
            return self.parameters
        shapes = parameter_shapes(self.config)
        dense = sum(shapes[path][0] * shapes[path][1] for path in self.factors)
        kept = sum(pair.left.size + pair.right.size for pair in self.factors.values())
        return self.parameters - dense + kept


def _no_factors(edits: Edits) -> str:
    if any(edit.touches for edit in edits):
        return "none of the edits truncates a matrix: there are no factors to keep"
    return "a clipping rate of 0 truncates nothing: there are no factors to keep"


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
    directory = model_directory(source, revision)
    raw, path = read_raw_config(directory)
    raw, ranks = without_factors(raw, path)
    config, family, unknown = read_known(raw, str(path))
    for notice in notices(raw):
        progress.notice(notice)
    axes = memory.choose_axes(config, dtype) if mesh == "auto" else sharding.axes_of(mesh or ONE)
    memory.check(config, dtype, axes, str(source or "the bundled model"))
    devices = sharding.make_mesh(axes)
    if mesh == "auto" and devices is not None:
        progress.notice(f"mesh {axes} over {axes.devices} devices")
    decoder = load_decoder(
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
    if is_gguf(directory) and is_quantized(found := header.read(directory)):
        quantization = quantization_of(found)
        progress.notice(
            f"the file's weights are quantised ({quantization}); they are dequantised to {dtype}, "
            "and it is the dequantised weights that are truncated"
        )
    name = recorded_source(source, directory)
    seconds = time.perf_counter() - start
    return Model(
        config=config,
        decoder=decoder,
        hf_config=raw,
        source=name,
        revision=revision,
        directory=directory,
        dtype=dtype,
        load_seconds=seconds,
        mesh=devices,
        quantization=quantization,
    )


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a model directory (:mod:`jaxsvd.tokenizer.load`).

    Raises:
        UserError: none there, or damaged.
    """
    from jaxsvd.tokenizer.load import load as read

    return read(directory)
