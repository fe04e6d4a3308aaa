"""An edited model's directory in one of the formats: weights, tokenizer, history and card."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsvd.checkpoints.adapter import save_adapter
from jaxsvd.checkpoints.card import write_card
from jaxsvd.checkpoints.export import arrays_of, save_decoder
from jaxsvd.checkpoints.factored import Pair
from jaxsvd.checkpoints.gguf.header import is_gguf
from jaxsvd.checkpoints.load import Origin, layout_of, parameter_shapes, read_parameter
from jaxsvd.checkpoints.save import copy_tokenizer
from jaxsvd.edits.card import LIBRARIES, TAGS, Format, card_text, hub_id
from jaxsvd.edits.edit import Edits
from jaxsvd.edits.provenance import Provenance
from jaxsvd.edits.replacement import parameter_path
from jaxsvd.models import FAMILIES
from jaxsvd.models.decoder import Decoder
from jaxsvd.runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """What the files of a model are made of.

    Attributes:
        decoder: with the edited weights.
        hf_config: config.json as it was read.
        directory: that the model was loaded from, or its GGUF file.
        base: the same as records name it; an adapter is put on this model.
        revision: of it on the hub.
        edits: since it was loaded.
        factors: the matrices of low rank, by parameter path.
        origins: how the files hold each parameter, by path.
        provenance: of the weights; None of weights that nobody edited.
        measured: for the card, in Markdown.
    """

    decoder: Decoder
    hf_config: Mapping[str, Any]
    directory: Path
    base: str
    revision: str | None
    edits: Edits
    factors: Mapping[str, Pair]
    origins: Mapping[str, Origin]
    provenance: Provenance | None
    measured: str

    def write(self, path: Path, format: Format) -> None:
        """Write all of it.

        Args:
            path: a new directory.
            format: of the weights.

        Raises:
            UserError: the directory exists already, a format that is none, or one of factors where
                there are none, or where it would hold more numbers than whole matrices.
        """
        if format not in LIBRARIES:
            raise UserError(f"format {format!r} should be one of {', '.join(LIBRARIES)}")
        if format != "dense" and not self.factors:
            raise UserError(_no_factors(self.edits))
        if format == "lora":
            self._write_adapter(path)
            return
        config = self.decoder.config
        save_decoder(
            self.decoder,
            FAMILIES[config.family],
            self.hf_config,
            path,
            write_companions=partial(self._write_companions, path.name, format),
            factors=self.factors if format == "factored" else {},
            origins=self.origins,
            provenance=self.provenance.to_json(config) if self.provenance else None,
        )

    def _write_companions(self, name: str, format: Format, directory: Path) -> None:
        """Tokenizer and card, into a directory that is being written."""
        if is_gguf(self.directory):
            from jaxsvd.tokenizer import gguf

            gguf.save(self.directory, directory)
        else:
            copy_tokenizer(self.directory, directory)
        if self.provenance is not None:
            self._write_card(self.provenance, name, format, directory)

    def _write_adapter(self, path: Path) -> None:
        """What was removed since the model was loaded.

        Raises:
            UserError: not all edits are truncations, the base is no model that peft reads, or the
                adapter would hold more numbers than the dense matrices.
        """
        config = self.decoder.config
        family, shapes = FAMILIES[config.family], parameter_shapes(config)
        matrices = [one for edit in self.edits for one in edit.by_matrix(config)]
        edited = dict.fromkeys(parameter_path(one.layer, one.module) for one in matrices)
        if others := [matrix for matrix in edited if matrix not in self.factors]:
            raise UserError(
                f"{', '.join(others)}: edited and not truncated, so what changed has no low rank; "
                "use the format dense"
            )
        if held := [matrix for matrix in self.factors if matrix not in edited]:
            raise UserError(
                f"{self.base} holds factors ({', '.join(held)}), which peft does not read; save it "
                "as dense, load that and edit it"
            )
        arrays = arrays_of(self.decoder)
        # Of a matrix that was truncated more than once the last rank counts.
        removed = {
            matrix: min(shapes[matrix]) - pair.left.shape[1]
            for matrix, pair in self.factors.items()
        }
        save_adapter(
            path,
            layout_of(config, family),
            removed,
            before=partial(read_parameter, self.directory, config, family),
            after=lambda matrix: np.asarray(arrays[matrix].astype(jnp.float32)),
            origins=self.origins,
            own=np.dtype(self.decoder.dtype),
            base=self.base,
            revision=self.revision,
            write_companions=partial(self._write_adapter_companions, path.name),
        )

    def _write_adapter_companions(self, name: str, directory: Path) -> None:
        assert self.provenance is not None
        # Beside its config: peft warns of a field that it does not know.
        text = json.dumps(self.provenance.to_json(self.decoder.config), indent=2, sort_keys=True)
        (directory / "jaxsvd.json").write_text(text + "\n", "utf-8")
        # It belongs to the model that was loaded, whatever that was made of.
        shown = replace(self.provenance, source=self.base, edits=self.edits)
        self._write_card(shown, name, "lora", directory)

    def _write_card(self, shown: Provenance, name: str, format: Format, directory: Path) -> None:
        write_card(
            directory,
            card_text(shown, self.decoder.config, format, name, self.measured),
            base=hub_id(shown.source),
            tags=TAGS,
            library=LIBRARIES[format],
            source=self.directory,
        )


def _no_factors(edits: Edits) -> str:
    if any(edit.touches for edit in edits):
        return "none of the edits truncates a matrix: there are no factors to keep"
    return "a clipping rate of 0 truncates nothing: there are no factors to keep"
