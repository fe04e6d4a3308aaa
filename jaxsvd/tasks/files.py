"""Readers for csv, tsv, jsonl and parquet: records with the place each one stands at.

Nothing here knows of tasks. Whatever a file holds, a reader either gives all its records or
raises a ``UserError`` that names the file and the line (parquet: the row, counted from 1).
"""

import contextlib
import csv
import dataclasses
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.lines import POINTER, place, text_lines

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""The endings that ``read`` knows."""

_NAMES_SHOWN = 12
_BATCH = 4096  # rows of a parquet file at a time


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A record as read.

    Attributes:
        place: file and line, for messages.
        values: its values by column or key.
    """

    place: str
    values: dict[str, object]


def read(path: Path, columns: tuple[str, ...], encoding: str = "utf-8") -> Iterator[Record]:
    """All records of a file, by its ending, one after another: no list of them is made.

    csv is read with the quoting of RFC 4180, without spaces after commas where the header or a
    quotation mark has one; tsv without any quoting, as GLUE writes it, unless its cells show that
    it was written with some. Both need a header. Blank lines are skipped, a byte-order mark is
    dropped.

    Args:
        path: a file that ends in one of ``SUFFIXES``.
        columns: names that the records must have; others may be there. None at all: whatever the
            file has.
        encoding: of text files.

    Returns:
        The records, in the file's order.

    Raises:
        UserError: the file can't be read or is malformed, or lacks a column; mostly when the
            records are asked for.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path, columns)
    if suffix == ".jsonl":
        return _jsonl(path, encoding)
    if suffix == ".csv":
        return with_header(path, csv_rows(path, encoding=encoding), columns)
    if suffix == ".tsv":
        return with_header(path, _either_tsv(path, encoding), columns)
    raise UserError(f"{path}: can't read a {suffix or 'nameless'} file; {', '.join(SUFFIXES)} work")


def with_header(
    path: Path, rows: Iterator[tuple[int, list[str]]], columns: tuple[str, ...]
) -> Iterator[Record]:
    """Records from rows of cells, the first of which names the columns.

    Args:
        path: the file, for messages.
        rows: line number and cells.
        columns: names that the header must have.

    Yields:
        The records.

    Raises:
        UserError: no header, a missing or doubled column, or a row of another length.
    """
    line, header = next(rows, (0, []))
    if not header:
        raise UserError(f"{path} is empty")
    header = [unicodedata.normalize("NFC", name.strip()) for name in header]
    requested = {unicodedata.normalize("NFC", name): name for name in columns}
    header = [requested.get(name, name) for name in header]
    for name in columns:
        if header.count(name) != 1:
            number = "no" if name not in header else "more than one"
            raise UserError(
                f"{path}, line {line}: {number} column {name!r} in the header ({listed(header)})"
            )
    for line, cells in rows:
        values = zip(header, check_width(path, line, cells, header), strict=True)
        yield Record(place(path, line), dict(values))


def check_width(path: Path, line: int, cells: list[str], header: list[str]) -> list[str]:
    """The cells, when they are as many as the header's.

    Args:
        path: the file, for messages.
        line: the row's line.
        cells: the row.
        header: the columns' names.

    Returns:
        ``cells``.

    Raises:
        UserError: another number of cells.
    """
    if len(cells) != len(header):
        raise UserError(f"{place(path, line)}: {len(cells)} columns, {len(header)} expected")
    return cells


def tsv_rows(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of a tab-separated file without quoting.

    Args:
        path: the file.
        encoding: of its text.

    Yields:
        A pair for every line that is not blank.

    Raises:
        UserError: the file can't be read, or a line is not text of its encoding.
    """
    for number, line in text_lines(path, encoding):
        line = line.removesuffix("\n").removesuffix("\r")
        if line:
            yield number, line.split("\t")


def csv_rows(
    path: Path, delimiter: str = ",", encoding: str = "utf-8"
) -> Iterator[tuple[int, list[str]]]:
    """First line number and cells of every row of a csv file.

    Args:
        path: the file.
        delimiter: between cells.
        encoding: of its text.

    Yields:
        A pair for every row that is not blank.

    Raises:
        UserError: the file can't be read, is not text of its encoding or not csv.
    """
    lines = (line for _, line in text_lines(path, encoding))
    spaced = delimiter == "," and _spaced(path, encoding)
    reader = csv.reader(lines, strict=True, delimiter=delimiter, skipinitialspace=spaced)
    start = 1
    with _long_fields():
        try:
            for cells in reader:
                if cells:
                    yield start, cells
                start = reader.line_num + 1
        except csv.Error as error:
            raise UserError(f"{place(path, start)}: not csv: {error}") from error


_SPACE_QUOTE = re.compile(r', +"')
_SPACED_HEADER = re.compile(r'[^",]+(, +[^",]+)+')


def _spaced(path: Path, encoding: str) -> bool:
    """Whether a csv file has spaces after its commas that are no part of the cells.

    So it is where its header has them, or a quotation mark follows one; elsewhere a space is text.
    """
    inside = 0  # 1 within a quoted cell that goes on in the next line
    for number, line in text_lines(path, encoding):
        if number == 1 and _SPACED_HEADER.fullmatch(line.rstrip("\r\n")):
            return True
        if any(
            (inside + line.count('"', 0, match.start())) % 2 == 0
            for match in _SPACE_QUOTE.finditer(line)
        ):
            return True
        inside = (inside + line.count('"')) % 2
    return False


_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def _either_tsv(path: Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of a tsv file, with quoting if it was written so.

    Spreadsheets and pandas quote cells as csv does; GLUE's files hold bare quotation marks. A
    file is read as quoted where its header is, where every cell that begins with a quotation mark
    is one that quoting would write and one of them has a doubled mark within, or where only then
    all rows have as many cells as the header.
    """
    width, good, doubled, ragged, quotes = 0, True, False, False, False
    for _, cells in tsv_rows(path, encoding):
        if not width:
            width = len(cells)
            if all(_QUOTED.fullmatch(cell.strip()) for cell in cells):
                return csv_rows(path, "\t", encoding)
        ragged = ragged or len(cells) != width
        for cell in cells:
            if cell.startswith('"'):
                quotes = True
                whole = _QUOTED.fullmatch(cell) is not None
                good, doubled = good and whole, doubled or (whole and '""' in cell[1:-1])
    if quotes and ((good and doubled) or (ragged and _even(path, width, encoding))):
        return csv_rows(path, "\t", encoding)
    return tsv_rows(path, encoding)


def _even(path: Path, width: int, encoding: str) -> bool:
    """Whether a tsv file read with quoting has equally many cells in every row."""
    try:
        return all(len(cells) == width for _, cells in csv_rows(path, "\t", encoding))
    except UserError:
        return False


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Lifts the csv module's limit of 128 KiB a field, which it has for the process only."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _jsonl(path: Path, encoding: str) -> Iterator[Record]:
    for number, line in text_lines(path, encoding):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        # ValueError: not JSON, or a number too long to convert.
        except (ValueError, RecursionError) as error:
            raise UserError(f"{place(path, number)}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{place(path, number)}: a JSON object expected, not {shown(value)}")
        yield Record(place(path, number), value)


def _parquet(path: Path, columns: tuple[str, ...]) -> Iterator[Record]:
    import pyarrow.parquet

    row = 0
    # A handle rather than a path: pyarrow would take a folder for a data set.
    with _parquet_errors(path), path.open("rb") as handle:
        if handle.read(len(POINTER)) == POINTER:
            raise UserError(f"{path}: a git-lfs pointer and not the file; run git lfs pull")
        file = pyarrow.parquet.ParquetFile(handle, page_checksum_verification=True)
        names = file.schema_arrow.names
        for name in columns:
            if names.count(name) != 1:
                number = "no" if name not in names else "more than one"
                raise UserError(f"{path}: {number} column {name!r} ({listed(names)})")
        columns = columns or tuple(dict.fromkeys(names))
        for batch in file.iter_batches(_BATCH, columns=list(columns)):
            values = {name: _column(path, row, batch.column(name)) for name in columns}
            for at in range(batch.num_rows):
                row += 1
                yield Record(f"{path}, row {row}", {name: values[name][at] for name in columns})


@contextlib.contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    """Damaged files make pyarrow raise more than its own: names that are no text, for example."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path}: can't be read as parquet: {error}") from error


def _column(path: Path, before: int, column) -> list[object]:
    values: list[object] = []
    for row, scalar in enumerate(column, before + 1):
        try:
            values.append(scalar.as_py())
        except UnicodeDecodeError as error:
            raise UserError(f"{path}, row {row}: not UTF-8 text: {error.reason}") from error
        except (ValueError, OverflowError) as error:  # dates that Python has not
            raise UserError(f"{path}, row {row}: not readable: {error}") from error
    return values


def shown(value: object) -> str:
    """A value for a message, cut when long.

    Args:
        value: anything.

    Returns:
        Its ``repr``, at most 60 characters.
    """
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(names: list[str]) -> str:
    """Names for a message.

    Args:
        names: any number of them.

    Returns:
        The first dozen, with commas.
    """
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return "it has " + ", ".join(shown(name) for name in names[:_NAMES_SHOWN]) + more
