"""Tables as Markdown, CSV and LaTeX."""

import csv
import io
import re
from itertools import groupby

from paper_figures.tables import NAMES, Column, ResultTable

FIELDS: tuple[str, ...] = (
    "kind",
    "task",
    "model",
    "module",
    "shots",
    "seed",
    "layer",
    "rate",
    "before",
    "before_low",
    "before_high",
    "before_spread",
    "after",
    "after_low",
    "after_high",
    "after_spread",
    "difference",
    "difference_low",
    "difference_high",
    "difference_spread",
    "p_value",
    "before_correct",
    "after_correct",
    "total",
    "run",
)


def _heading(column: Column) -> str:
    """The model, and whose numbers these are."""
    return f"{column.model} (published)" if column.published else column.model


def _module(column: Column) -> str:
    return NAMES.get(column.module, column.module)


def markdown(table: ResultTable) -> str:
    """A heading, the table, its notes and the runs it is from."""
    headings = ["", *(f"{_heading(c)}: {_module(c)}" for c in table.columns)]
    rows = [[name, *(column.cell(name) for column in table.columns)] for name in table.rows]
    lines = [f"### {_markdown(table.title)}", ""]
    lines.append("| " + " | ".join(map(_markdown, headings)) + " |")
    lines.append("|---" + "|---:" * len(table.columns) + "|")
    lines += ["| " + " | ".join(map(_markdown, row)) + " |" for row in rows]
    lines += ["", *(f"{_markdown(note)}  " for note in table.notes)]
    lines += [f"{_markdown(what)}: `{o.source.path}`  " for what, o in table.outcomes]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(text: str) -> str:
    text = re.sub(r"([\\`*_{}<>|~$])", r"\\\1", " ".join(text.split()))
    # Brackets are links only where something follows them: intervals are left readable.
    return re.sub(r"\[(?=[^\d+-])", r"\\[", text)


def comma_separated(table: ResultTable) -> str:
    """A line for each search, each mean over seeds and each published result, in full precision."""
    file = io.StringIO()
    writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
    writer.writeheader()
    for record in table.records:
        writer.writerow(record)
    return file.getvalue()


def latex(table: ResultTable) -> str:
    """A ``table`` environment that needs no package."""
    count = len(table.columns)
    groups = [(key, len(list(columns))) for key, columns in groupby(map(_heading, table.columns))]
    spans = [rf"\multicolumn{{{n}}}{{c}}{{{_latex(name)}}}" for name, n in groups]
    label = re.sub(r"[^A-Za-z0-9]+", "-", table.name).strip("-")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(table.title)}. {' '.join(map(_latex, table.notes))}}}",
        rf"\label{{tab:{label}}}",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{l{'r' * count}}}",
        r"\hline",
        " & ".join(["", *spans]) + r" \\",
        " & ".join(["", *(_latex(_module(column)) for column in table.columns)]) + r" \\",
        r"\hline",
    ]
    for name in table.rows:
        row = [name, *(column.cell(name) for column in table.columns)]
        lines.append(" & ".join(map(_latex, row)) + r" \\")
    lines += [r"\hline", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "…": r"\ldots{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def _latex(text: str) -> str:
    """Text as it is, in LaTeX; minus signs of numbers in mathematics."""
    text = "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", text)
