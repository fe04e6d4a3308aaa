"""What config.json says of an edited model: what it was made of, and every edit since, in order."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jaxsvd.checkpoints.factored import PROVENANCE
from jaxsvd.checkpoints.load import parameter_shapes
from jaxsvd.edits.edit import Edit, Edits
from jaxsvd.edits.replacement import parameter_path
from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.matrices import matrices
from jaxsvd.runtime.errors import UserError


@dataclass(frozen=True)
class Provenance:
    """Where edited weights come from.

    Attributes:
        source: the model that was edited first, as records name it: a path or a hub id.
        revision: of it on the hub.
        quantization: of its file, where the weights were dequantised.
        edits: all since, in order; of a matrix that was edited twice both.
    """

    source: str
    revision: str | None
    quantization: str | None
    edits: Edits

    def to_json(self, config: DecoderConfig) -> dict[str, Any]:
        """The field of config.json; the edits as result.json has them."""
        record: dict[str, Any] = {"source": self.source, "revision": self.revision}
        if self.quantization is not None:
            record["quantization"] = self.quantization
        record["edits"] = [_edit_json(edit, config) for edit in self.edits]
        with contextlib.suppress(PackageNotFoundError):  # a checkout that is not installed
            record["version"] = version("jaxsvd")
        return record


def read_provenance(raw: Mapping[str, Any], config: DecoderConfig, where: str) -> Provenance | None:
    """The provenance that a config.json tells of; None if it does not.

    Args:
        raw: the parsed file.
        config: of the model.
        where: the file's name, for messages.

    Raises:
        UserError: it is not as :meth:`Provenance.to_json` writes it, or tells of a layer or module
            that the model does not have.
    """
    fields = raw.get(PROVENANCE)
    if fields is None:
        return None
    try:
        texts = [fields["source"], fields.get("revision"), fields.get("quantization")]
        if not isinstance(texts[0], str) or not all(isinstance(t, str | None) for t in texts):
            raise TypeError("source, revision and quantization should be texts")
        edits = tuple(_edit_of(edit, config) for edit in fields["edits"])
    except (KeyError, TypeError, AttributeError, ValueError, UserError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise UserError(
            f"{where}: {PROVENANCE}, what the model was made of, is damaged ({reason}); "
            "remove it to load the model without its history"
        ) from None
    source, revision, quantization = texts
    return Provenance(source, revision, quantization, edits)


def ranks_of(edit: Edit, config: DecoderConfig) -> dict[str, int]:
    """What an edit leaves of each matrix, by name; see :meth:`Edit.ranks`."""
    layer = edit.resolved(config).layer
    shapes = parameter_shapes(config)
    of_layer = {name: shapes[parameter_path(layer, name)] for name in matrices(config, "all")}
    return edit.ranks(config, of_layer)


def _edit_json(edit: Edit, config: DecoderConfig) -> dict[str, Any]:
    record: dict[str, Any] = {"layer": edit.layer, "module": edit.module, "rate": edit.rate}
    if edit.rank is not None:
        record["rank"] = edit.rank
    record["ranks"] = ranks_of(edit, config)
    if edit.method != "exact":
        record["method"] = edit.method
    if edit.random:
        record["seed"] = edit.seed
    return record


def _edit_of(fields: Mapping[str, Any], config: DecoderConfig) -> Edit:
    numbers: Sequence[object] = (fields["layer"], fields.get("rank", 1), fields.get("seed", 0))
    if not all(type(number) is int for number in numbers) or type(fields["module"]) is not str:
        raise TypeError(f"no edit: {dict(fields)!s:.80}")
    rate = fields["rate"]
    return Edit(
        fields["layer"],
        fields["module"],
        None if rate is None else float(rate),
        rank=fields.get("rank"),
        method=fields.get("method", "exact"),
        seed=fields.get("seed", 0),
    ).resolved(config)
