"""The HTML file: template, style, script and data in one, and nothing from elsewhere."""

import base64
import hashlib
import html
import importlib.resources
import re

from jaxsvd.runs.directory import JsonObject, dump

GENERATOR = '<meta name="generator" content="jaxsvd report">'
SCRIPTS = (
    "dom.js", "chart.js", "points.js", "curves.js", "heatmap.js", "explanation.js", "flips.js",
    "main.js",
)  # fmt: skip
STYLES = ("page.css", "figures.css", "media.css")


def render(data: JsonObject) -> str:
    """The page of a run.

    The data stand in it as JSON that the script reads; only the title and the answer, which a
    browser without scripts shows too, are text of the page itself. A policy in the page allows
    this script and this style and no connection at all.

    Args:
        data: see :func:`jaxsvd.page.content.content`.
    """
    script = '(() => {\n"use strict";\n' + "".join(map(_file, SCRIPTS)) + "})();\n"
    style = "\n" + "".join(map(_file, STYLES))
    parts = {
        "policy": "; ".join(
            (
                "default-src 'none'",
                f"script-src '{_digest(script)}'",
                f"style-src '{_digest(style)}'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
        "generator": GENERATOR,
        "title": _text(str(data["subject"])),
        "answer": _text(str(data["answer"])),
        "style": style,
        "data": embedded(data),
        "script": script,
    }
    # One pass, so that braces in the data stay what they are.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("page.html"))


def _file(name: str) -> str:
    return (importlib.resources.files("jaxsvd.page") / "template" / name).read_text("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_UNSAFE = re.compile("[<>&\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff\x7f-\x9f]")


def embedded(data: JsonObject) -> str:
    """JSON that can stand inside a script element and in a UTF-8 file, whatever its texts say."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", dump(data))


def _text(value: str) -> str:
    clean = re.sub(
        "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", value
    )
    return html.escape(clean)
