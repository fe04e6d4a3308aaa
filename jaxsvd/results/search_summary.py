"""What a search measured, in sentences: the change, what it is made of, whom it speaks of."""

from jaxsvd.results.explanation import BATCH, FITTED, RAW, Change, Explanation
from jaxsvd.results.label_counts import LabelCounts, constant_answer
from jaxsvd.results.search import SearchResult
from jaxsvd.results.statistics import PairedDifference


def search_answer(result: SearchResult) -> str:
    """The result of a search in a few sentences that claim no more than the numbers carry."""
    where = f"{result.module} of layer {result.layer}"
    what = f"{where} at rate {result.best_rate:g}"
    if result.composed and result.candidates is not None:
        what = result.candidates.chosen
    sentences = []
    if result.best_rate == 0 and result.candidates is not None:
        sentences.append(
            f"None of {result.candidates.count - 1:,} candidates beat the untouched model on "
            f"validation (test accuracy {result.base.value:.4f})."
        )
    elif result.best_rate == 0:
        sentences.append(
            f"No rate beat the untouched model on validation: {where} is best left alone "
            f"(test accuracy {result.base.value:.4f})."
        )
    else:
        paired = result.paired
        test = "Student's t over draws and examples" if result.several else "exact McNemar"
        on = f" over {len(result.draws)} draws" if result.several else ""
        sentences.append(
            f"Truncating {what} changes test accuracy by "
            f"{paired.difference:+.4f}{on}, 95 % interval {_interval(paired.interval)}, "
            f"p = {paired.p_value:.3g} ({test}, {paired.gained} gained, {paired.lost} lost): "
            f"{_finding(paired, result.explanation)}."
        )
    sentences.append(_draw_sentence(result))
    majority = ""
    if result.label_counts is not None:
        majority = (
            f"; always answering the commonest label scores {result.label_counts.majority:.3f}"
        )
    sentences.append(f"Chance is {result.task.chance:.3f}{majority}.")
    return " ".join([*sentences, *constant_answers(result.label_counts)])


def _draw_sentence(result: SearchResult) -> str:
    """Which draws of demonstrations the answer speaks of."""
    if not result.several:
        seed = result.task.draw[1]
        named = "" if seed is None else f" (seed {seed})"
        return f"This speaks of one draw of demonstrations alone{named}; --seeds takes several."
    changes = [draw.chosen.paired.difference for draw in result.draws]
    if result.best_rate == 0:
        return f"The choice is on the mean of {len(changes)} draws of demonstrations."
    return f"By draw the change goes from {min(changes):+.4f} to {max(changes):+.4f}."


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"[{low:+.4f}, {high:+.4f}]"


def _finding(paired: PairedDifference, explanation: Explanation | None) -> str:
    """Gain, loss or neither, in raw accuracy and calibrated.

    A raw change that calibration takes away, or turns round, is never called by one word alone.
    """
    raw = "a gain" if paired.difference > 0 else "a loss"
    if explanation is None:
        return f"{raw} beyond noise" if paired.significant else "within noise"
    fitted, area = explanation.fitted_prior, explanation.auc
    calibrated = f"calibrated, it is {fitted.difference:+.4f} {_interval(fitted.interval)}"
    if area is not None:
        calibrated += f" (AUC {area.difference:+.4f} {_interval(area.interval)})"
    if explanation.verdict not in ("discrimination", "both"):
        if not paired.significant:
            return f"within noise; {calibrated}"
        if explanation.verdict == "no change":
            return f"{raw} beyond noise in raw accuracy, which calibration does not confirm: " + (
                calibrated
            )
        return f"{raw} beyond noise in raw accuracy, a shift of the label prior: {calibrated}"
    change = "a gain" if _discrimination(explanation) > 0 else "a loss"
    if not paired.significant:
        return f"within noise in raw accuracy, but {change} in telling the labels apart: " + (
            calibrated
        )
    if change != raw:
        return (
            f"{raw} beyond noise in raw accuracy, a shift of the label prior that hides {change} "
            f"in telling the labels apart: {calibrated}"
        )
    if explanation.verdict == "both":
        return (
            f"{raw} beyond noise in raw accuracy, in part a shift of the label prior, in part "
            f"{change} in telling the labels apart: {calibrated}"
        )
    return f"{raw} beyond noise; {calibrated}: the labels are told apart differently"


def _discrimination(explanation: Explanation) -> float:
    """Which way discrimination changed: calibrated accuracy, or the area where that is noise."""
    fitted, area = explanation.fitted_prior, explanation.auc
    if fitted.sign or area is None:
        return fitted.difference
    return area.difference


def constant_answers(counts: LabelCounts | None, model: str = "untouched") -> list[str]:
    """A sentence for each model that gives one answer nearly always.

    Args:
        counts: what the models say.
        model: what the first of them is called; the other is the truncated one.
    """
    if counts is None:
        return []
    sentences = []
    for name, said in ((model, counts.untouched), ("truncated", counts.truncated)):
        if said and (label := constant_answer(said)) is not None:
            total = sum(said.values())
            share = f"all {total:,}" if said[label] == total else f"{said[label]:,} of {total:,}"
            sentences.append(f"The {name} model answers {label!r} to {share} questions.")
    return sentences


def candidates_lines(result: SearchResult) -> list[str]:
    """How the truncation was chosen among many, what that took, and what it promises."""
    choice = result.candidates
    if choice is None:
        return []
    beyond = [one for one in choice.tried if one.beyond_noise]
    share = choice.passes / choice.exhaustive if choice.exhaustive else 1.0
    lines = [
        f"chosen among {choice.count - 1:,} candidates by --select {choice.select}: "
        f"{choice.chosen or 'none'}; {choice.passes:,} example-passes on validation, "
        f"{share:.2f} of scoring every candidate on every example",
    ]
    tested = sum(one.p_value is not None for one in choice.tried)
    lines.append(
        f"of {tested:,} candidates that were scored on all of validation {len(beyond):,} differ "
        "from the untouched model beyond noise (Holm's correction at 5 %)"
    )
    if choice.epsilon is not None and choice.delta is not None:
        lines.append(
            f"with probability {1 - choice.delta:g} no candidate is better than the winner by more "
            f"than {choice.epsilon:.4f} in accuracy"
        )
    if choice.margin is not None:
        lines.append(f"each addition had to bring more than {choice.margin:g} on validation")
    return lines


def explanation_lines(result: SearchResult) -> list[str]:
    """What the change of test accuracy is made of, a line for each reading of the scores."""
    parts = result.explanation
    if parts is None:
        return []
    names = {RAW: "raw", BATCH: "batch calibrated", FITTED: "fitted prior"}
    lines = [_change_line(names.get(name, name), c) for name, c in parts.accuracy.items()]
    if parts.auc is not None:
        lines.append(_change_line("AUC", parts.auc))
    if parts.share_explained is not None:
        low, high = parts.share_explained.interval
        lines.append(
            f"share of the raw change that the label prior explains: "
            f"{parts.share_explained.value:.2f} [{low:.2f}, {high:.2f}]"
        )
    alone = parts.batch_calibrated.untouched
    lines.append(
        f"calibration alone, nothing truncated: {parts.raw.untouched:.4f} -> {alone:.4f} (batch), "
        f"{parts.fitted_prior.untouched:.4f} (fitted prior)"
    )
    draws = f"over {len(result.draws)} draws" if result.several else "on this draw"
    alone = "" if result.several else " alone"
    lines.append(f"what changed: {parts.verdict} ({draws} of demonstrations{alone})")
    return lines


def _change_line(name: str, change: Change) -> str:
    low, high = change.interval
    p_value = "" if change.p_value is None else f"  p = {change.p_value:.3g}"
    return (
        f"{name:<17} {change.untouched:.4f} -> {change.truncated:.4f}  "
        f"{change.difference:+.4f} [{low:+.4f}, {high:+.4f}]{p_value}"
    )
