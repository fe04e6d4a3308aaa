"""A search beside the paper's published results, where it is one of the paper's own."""

from jaxsvd.models.config import DecoderConfig
from jaxsvd.results.search import SearchResult
from jaxsvd.tasks.published import PublishedModel, published


def paper_model(config: DecoderConfig) -> PublishedModel | None:
    """Which of the paper's two models a decoder has the shape of."""
    shape = config.family, config.layers, config.width, config.mlp_width, config.context
    if shape == ("gptj", 28, 4096, 16384, 2048):
        return "gpt-j-6b"
    # Llama 1 has half the context.
    return "llama-2-7b" if shape == ("llama", 32, 4096, 11008, 4096) else None


def published_lines(config: DecoderConfig, result: SearchResult) -> list[str]:
    """The published figures and ours, counted as the scripts count; none for other runs.

    Args:
        config: of the model that was searched.
        result: of a search; only those under the ``scripts`` protocol are comparable.
    """
    task, model = result.task, paper_model(config)
    if task.protocol != "scripts" or model is None or result.module not in ("mlp", "attn"):
        return []
    cell = published(model, task.name, result.module)
    if cell is None:
        return []

    def ours(correct: int, total: int) -> str:
        figure = f"{cell.comparable_figure(correct, total):.5f}"
        script = f"{cell.script_figure(correct, total):.5f}"
        return figure if script == figure else f"{figure} (the script prints {script})"

    over = {"n": "all examples", "n-1": "one example fewer than were scored"}
    return [
        "",
        f"published for {model}, {task.name}, {result.module} (accuracies over "
        f"{over[cell.figure_denominator]}):",
        f"  paper: layer {cell.layer}, rate {cell.rate:g}: {cell.before:g} -> {cell.after:g}",
        f"  here:  layer {result.layer}, rate {result.best_rate:g}: "
        f"{ours(result.base.correct, result.base.total)} -> "
        f"{ours(result.pruned.correct, result.pruned.total)}",
    ]
