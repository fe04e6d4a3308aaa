"""Decoders: one implementation, a small file for each family."""

from collections.abc import Mapping
from typing import Any

from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.families.gptj import GPTJ
from jaxsvd.models.families.llama import LLAMA
from jaxsvd.models.hf_config import ConfigReader, Family
from jaxsvd.runtime.errors import UserError

FAMILIES: dict[str, Family] = {family.name: family for family in (GPTJ, LLAMA)}


def read_config(raw: Mapping[str, Any], where: str) -> tuple[DecoderConfig, Family]:
    """The decoder that a Hugging Face config.json describes.

    Args:
        raw: the parsed file.
        where: its name, for messages.

    Raises:
        UserError: an unsupported family, or attributes that are missing, ill-typed, or unknown
            and away from their default; all are listed.
    """
    config, family, unknown = read_known(raw, where)
    if unknown:
        raise UserError("; ".join(unknown))
    return config, family


def read_known(raw: Mapping[str, Any], where: str) -> tuple[DecoderConfig, Family, tuple[str, ...]]:
    """As :func:`read_config`, but unknown attributes are told and not raised.

    They say nothing of shapes, so the weights can be checked too before all is reported.
    """
    name = raw.get("model_type")
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        known = ", ".join(FAMILIES)
        raise UserError(f"{where}: model_type = {name!r} is not supported; supported: {known}")
    reader = ConfigReader(raw)
    config = family.read(reader)
    unknown = reader.unread()
    if reader.problems:
        raise UserError(f"{where}: " + "; ".join([*reader.problems, *unknown]))
    return config, family, tuple(f"{where}: {problem}" for problem in unknown)
