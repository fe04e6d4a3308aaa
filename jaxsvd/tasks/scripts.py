r"""The ``scripts`` protocol: prompts, rows and label tokens of the authors' own scripts.

Everything that the scripts do to a prompt is repeated to the byte, slips included, so that a run
can be held against the published accuracies:

- ``datasets``' shuffle with a fixed seed, then rows by their position within a class. With the
  hub's row order these are the scripts' very rows.
- Fields as they are, and stray spaces: before the newline of a demonstration, and for RTE and CB
  before the label itself.
- RTE, CB and COPA show 5 demonstrations of the 10 or 15 that they draw.
- CB shows ``Mi`` and scores ``Maybe``. EmoC calls class 0 positive, which is *others*.
- Scored texts that also occur among the demonstrations stay.

What the scripts leave open is settled thus. Fewer or more shots than a script shows take the
beginning or the continuation of the same sequence. Rows that are "the rest of train" begin after
the demonstrations that the script sets aside, or after those shown where they are more. A smaller
validation or test set takes the first rows of every class block, in proportion, since the scripts
put whole classes one after the other; a split that is scored as it is gives its first rows.
"""

import numpy as np

from jaxsvd.runtime.errors import UserError
from jaxsvd.tasks.base import Prepared, Question
from jaxsvd.tasks.scriptspecs import ScriptSpec
from jaxsvd.tasks.sources import Splits
from jaxsvd.tasks.specs import Row, TaskSpec, fill
from jaxsvd.tasks.splits import Sizes


def prepare(
    spec: TaskSpec, splits: Splits, source: str, *, seed: int | None, sizes: Sizes
) -> Prepared:
    """Selects a script's rows and writes its prompts.

    Args:
        spec: a task that has a script.
        splits: its rows by source split.
        source: where they came from.
        seed: what the user asked for. The script's own is used; a notice says so.
        sizes: what the user asked for.

    Returns:
        The task, ready to be scored.

    Raises:
        UserError: the data lacks rows that the script takes, or a size can't be met.
    """
    script = spec.scripts
    if script is None:
        raise UserError(f"{spec.name}: the authors have no script for it; use --protocol clean")
    shots = script.shots if sizes.shots is None else sizes.shots
    shown, validation, test = _select(spec, script, splits, shots, sizes)
    demonstrations = tuple(
        fill(script.demonstration, _values(script, row, stripped=False)) for row in shown
    )

    def questions(split: str, rows: tuple[Row, ...]) -> tuple[Question, ...]:
        return tuple(
            Question(
                split=split,
                index=row.index,
                demonstrations=demonstrations,
                query=_query(script, row, shots),
                candidates=_candidates(spec, row),
                gold=script.label_of[row.label],
            )
            for row in rows
        )

    return Prepared(
        name=spec.name,
        source=source,
        protocol="scripts",
        rule="scripts-choice" if spec.kind == "choices" else "scripts-label",
        labels=spec.labels,
        shots=shots,
        seed=script.seed,
        round_size=len(script.groups),
        validation=questions("validation", validation),
        test=questions("test", test),
        notices=tuple(_notices(spec, script, splits, seed, shown, validation + test)),
    )


def zero_shot_template(spec: TaskSpec) -> str | None:
    """The scripts' query without demonstrations, with the row's fields in braces.

    Args:
        spec: a task.

    Returns:
        The template; ``None`` where the query is the same as with demonstrations.
    """
    script = spec.scripts
    if script is None or script.zero_shot is None:
        return None
    return script.zero_shot.replace("{body}", script.body)


def shuffled(rows: tuple[Row, ...], seed: int) -> tuple[Row, ...]:
    """The order of ``datasets.Dataset.shuffle(seed=seed)``.

    Args:
        rows: a split in its own order.
        seed: of the shuffle.

    Returns:
        The same rows.
    """
    return tuple(rows[i] for i in np.random.default_rng(seed).permutation(len(rows)))


def _select(
    spec: TaskSpec, script: ScriptSpec, splits: Splits, shots: int, sizes: Sizes
) -> tuple[tuple[Row, ...], tuple[Row, ...], tuple[Row, ...]]:
    """The rows that are shown, those that validate and those that test."""
    count = len(script.groups)
    mixed = shuffled(splits["train"], script.seed)
    blocks = [tuple(row for row in mixed if row.label in group) for group in script.groups]
    for position, (group, block) in enumerate(zip(script.groups, blocks, strict=True)):
        needed = script.held + (shots - position + count - 1) // count
        if len(block) < needed:
            names = ", ".join(spec.classes[label] for label in group)
            raise UserError(
                f"{spec.name}: the scripts protocol with {shots} shots takes {needed:,} rows of"
                f" {names} from train, which has {len(block):,}; give the full data set, or use"
                " --protocol clean"
            )
    shown = tuple(blocks[i % count][script.held + i // count] for i in range(shots))
    begin = script.held + max(script.drawn, -(-shots // count))
    parts = {
        "head": [block[: script.held] for block in blocks],
        "rest": [block[begin:] for block in blocks],
    }
    validation = parts.get(script.validation) or [_own(spec, splits, spec.validation_split)]
    test = parts.get(script.test) or [_own(spec, splits, spec.test_split)]
    return (
        shown,
        _take(spec, "validation", validation, sizes.validation),
        _take(spec, "test", test, sizes.test),
    )


def _own(spec: TaskSpec, splits: Splits, split: str) -> tuple[Row, ...]:
    if split not in splits:
        raise UserError(
            f"{spec.name}: the scripts protocol scores the {split} split, which this data lacks;"
            " take it from the hub, or use --protocol clean"
        )
    return splits[split]


def _take(
    spec: TaskSpec, what: str, blocks: list[tuple[Row, ...]], size: int | None
) -> tuple[Row, ...]:
    """So many rows of the blocks' beginnings, in proportion, in the blocks' order."""
    rows = tuple(row for block in blocks for row in block)
    if not rows:
        raise UserError(f"{spec.name}: the data has no {what} rows for the scripts protocol")
    if size is None:
        return rows
    if size > len(rows):
        raise UserError(
            f"{spec.name}: a {what} size of {size:,} was asked for, the scripts protocol has"
            f" {len(rows):,} rows for it"
        )
    depths = [(place + 0.5) / len(block) for block in blocks for place in range(len(block))]
    first = sorted(range(len(rows)), key=depths.__getitem__)[:size]
    return tuple(rows[i] for i in sorted(first))


def _values(script: ScriptSpec, row: Row, *, stripped: bool) -> dict[str, str]:
    body = fill(script.body, row.fields)
    return {
        "body": body.strip() if stripped else body,
        "word": fill(script.words[row.label], row.fields),
    }


def _query(script: ScriptSpec, row: Row, shots: int) -> str:
    template = script.zero_shot if script.zero_shot and shots == 0 else script.query
    return fill(template, _values(script, row, stripped=script.stripped))


def _candidates(spec: TaskSpec, row: Row) -> tuple[str, ...]:
    if spec.kind == "choices":
        return tuple(row.fields[name] + "\n" for name in spec.choices)
    return spec.labels


def _notices(
    spec: TaskSpec,
    script: ScriptSpec,
    splits: Splits,
    seed: int | None,
    shown: tuple[Row, ...],
    scored: tuple[Row, ...],
) -> list[str]:
    notices: list[str] = []
    if seed is not None and seed != script.seed:
        notices.append(
            f"{spec.name}: the scripts protocol shuffles with seed {script.seed}; {seed} is unused"
        )
    for split, published in script.published_rows.items():
        if len(splits[split]) != published:
            notices.append(
                f"{spec.name}: {split} has {len(splits[split]):,} rows, the published one"
                f" {published:,}; the rows are not those of the published results"
            )
    texts = [row.fields for row in shown]
    repeated = sum(row.fields in texts for row in scored)
    if repeated:
        notices.append(
            f"{spec.name}: {repeated:,} scored examples repeat the text of a demonstration, as"
            " the scripts let them"
        )
    return notices
