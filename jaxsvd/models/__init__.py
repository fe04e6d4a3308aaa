"""Decoders: one implementation, a small file for each family."""

from collections.abc import Mapping
from typing import Any

from jaxsvd.models.config import DecoderConfig
from jaxsvd.models.families.gemma import GEMMA
from jaxsvd.models.families.gemma2 import GEMMA2
from jaxsvd.models.families.gemma3 import GEMMA3
from jaxsvd.models.families.gpt2 import GPT2
from jaxsvd.models.families.gpt_neox import GPT_NEOX
from jaxsvd.models.families.gptj import GPTJ
from jaxsvd.models.families.llama import LLAMA
from jaxsvd.models.families.mistral import MISTRAL
from jaxsvd.models.families.olmo2 import OLMO2
from jaxsvd.models.families.opt import OPT
from jaxsvd.models.families.phi import PHI
from jaxsvd.models.families.phi3 import PHI3
from jaxsvd.models.families.qwen import QWEN2, QWEN3
from jaxsvd.models.families.smollm3 import SMOLLM3
from jaxsvd.models.families.stablelm import STABLELM
from jaxsvd.models.hf_config import ConfigReader, Family, kind_of_unsupported
from jaxsvd.runtime.errors import UserError

_ALL = (
    *(GPTJ, LLAMA, GPT2, GPT_NEOX, OPT, PHI, PHI3, MISTRAL, QWEN2, QWEN3, GEMMA, GEMMA2, GEMMA3),
    *(SMOLLM3, OLMO2, STABLELM),
)
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
"""By ``model_type``."""


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
    """As :func:`read_config`, but unknown attributes are returned and not raised.

    They say nothing of shapes, so the weights can be checked too before all is reported.
    """
    name = raw.get("model_type")
    family = FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        known = ", ".join(FAMILIES)
        other = kind_of_unsupported(raw)
        what = f"model_type = {name!r} is not supported"
        raise UserError(f"{where}: {what}{other and f': {other}'}; supported: {known}")
    reader = ConfigReader(raw)
    config = family.read(reader)
    unknown = reader.unread()
    if reader.problems:
        raise UserError(f"{where}: " + "; ".join([*reader.problems, *unknown]))
    return config, family, tuple(f"{where}: {problem}" for problem in unknown)


def notices(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """What of a config.json is ignored though its name is unknown, a line each.

    Args:
        raw: a file that :func:`read_config` takes.
    """
    reader = ConfigReader(raw)
    FAMILIES[raw["model_type"]].read(reader)
    return tuple(f"config.json: {line}" for line in reader.notices())
