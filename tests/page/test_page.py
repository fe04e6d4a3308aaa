"""The file: data that cannot leave its element, and a policy that lets nothing in."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxsvd.page
from jaxsvd.page.page import embedded, render

TEMPLATE = Path(jaxsvd.page.__file__).parent / "template"
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>'\"`&amp;&lt;\\",
    "\x00\x1b[31m\x7f\x85",
    "\u2028\u2029\ufeff",
    "\u202e\u05e9\u05dc\u05d5\u05dd",
    "\U0001f469\u200d\U0001f680",
    "\ud800 alone \udfff",
    "{{script}}{{data}}",
    "x" * 100_000,
]


def page(**changes: Any) -> str:
    empty = {"subject": "a run", "answer": "an answer", "texts": []}
    return render(empty | changes)


@given(st.text(st.characters(codec=None), max_size=40))
def test_embedding_keeps_every_text(text: str) -> None:
    """Any string, lone surrogates too, comes back, and the form has none of the unsafe."""
    form = embedded({"text": text})
    assert json.loads(form) == {"text": text}
    assert not re.search("[<>&\u2028\u2029\x00-\x1f\ud800-\udfff]", form)
    form.encode("utf-8")


class Elements(HTMLParser):
    """The tags of a page, and the text of its scripts, styles and title."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.tags[-1][0] if self.tags else "", []).append(data)


def elements(text: str) -> Elements:
    parser = Elements()
    parser.feed(text)
    parser.close()
    return parser


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_add_no_element(text: str) -> None:
    plain, hostile = elements(page()), page(subject=text, answer=text, texts=[text])
    actual = elements(hostile)
    assert [tag for tag, _ in actual.tags] == [tag for tag, _ in plain.tags]
    start = hostile.index('id="data">') + len('id="data">')
    data = json.loads(hostile[start : hostile.index("</script>", start)])
    assert data["texts"] == [text]
    hostile.encode("utf-8")


def test_policy_allows_its_own_script_and_style_only() -> None:
    text = page()
    actual = elements(text)
    policy = next(a["content"] for _, a in actual.tags if "http-equiv" in a)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    for element in ("script", "style"):
        body = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        assert len(body) == 1
        digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
        assert rules[f"{element}-src"] == f"'sha256-{digest}'"


def test_nothing_comes_from_elsewhere() -> None:
    """No address of another place, and no way from text to markup."""
    actual = elements(page())
    addresses = [a[name] for _, a in actual.tags for name in ("src", "href") if name in a]
    assert addresses == ["data:,"]
    for path in TEMPLATE.iterdir():
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        for banned in ("http:", "https:", "@import", "url(", "fetch(", "XMLHttpRequest"):
            assert banned not in text, path.name
        for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert banned not in text, path.name
