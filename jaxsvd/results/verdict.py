"""What a search found, in a sentence."""

from jaxsvd.commands.search import SearchResult


def verdict(result: SearchResult) -> str:
    """The finding in a sentence that claims no more than the numbers carry."""
    where = f"{result.module} of layer {result.layer}"
    chance = result.record["task"]["chance"]
    if result.best_rate == 0:
        return (
            f"No rate beat the untouched model on validation: {where} is best left alone "
            f"(test accuracy {result.base.value:.4f}, chance {chance:.3f})."
        )
    paired = result.paired
    low, high = paired.interval
    told = (
        ("a gain" if paired.difference > 0 else "a loss") + " beyond noise"
        if paired.significant
        else "within noise"
    )
    return (
        f"Truncating {where} at rate {result.best_rate:g} changes test accuracy by "
        f"{paired.difference:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}], "
        f"p = {paired.p_value:.3g} (exact McNemar, {paired.gained} gained, {paired.lost} lost): "
        f"{told}. Chance is {chance:.3f}."
    )
