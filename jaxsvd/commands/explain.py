"""Is a gain real? What a search's change of accuracy is made of, where that takes further passes.

Content-free queries calibrate a model by what it says to nothing; controls change the same weights
by as much in other ways; other draws and orders of the demonstrations tell how much is luck; other
tasks and plain text, what the same edit costs; the layers through which it reaches the answer, and
the singular directions that it removes, what did it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxsvd.commands.explaining.elsewhere import corrected, side_effects
from jaxsvd.commands.explaining.luck import luck
from jaxsvd.commands.explaining.origins import origins
from jaxsvd.commands.explaining.readings import explained
from jaxsvd.commands.explaining.searched import read_search
from jaxsvd.commands.perplexity import perplexity
from jaxsvd.model import Model
from jaxsvd.results.search import SearchResult
from jaxsvd.runs.directory import RESULT, pretty, write_whole
from jaxsvd.runtime.progress import SILENT, Progress


@dataclass(frozen=True)
class Passes:
    """How much is scored.

    Attributes:
        draws: of demonstrations, the search's own among them; below 2 none.
        orders: of the search's demonstrations, its own among them; below 2 none.
        control_seeds: of each control that draws random numbers, in each draw of the search; 0 for
            no controls.
        examples: at most so many test examples of each draw and order.
        origins: test examples of the search's first draw whose change is followed through the
            layers, each computed whole; 0 for none.
        directions: removed singular directions that are described.
    """

    draws: int = 8
    orders: int = 8
    control_seeds: int = 5
    examples: int = 400
    origins: int = 100
    directions: int = 5


def explain(
    run: str | Path,
    *,
    load: Callable[[str, str | None, str], Model],
    passes: Passes = Passes(),
    seeds: Sequence[int] | None = None,
    also: Mapping[str, str | None] | None = None,
    texts: Sequence[str | Path] = (),
    margin: float = 0.01,
    progress: Progress = SILENT,
) -> SearchResult:
    """Explain a search, and write the explanation into its result.json.

    Args:
        run: directory of a finished search that truncated something.
        load: loads the model, from its source, revision and dtype.
        passes: how much is scored.
        seeds: of the draws of demonstrations whose spread is told; the search's own and those
            that follow if left out.
        also: other tasks that the same edit is tried on: name or task file -> folder of its data
            (None for the hub).
        texts: files of plain text, for perplexity.
        margin: a change of accuracy (of the mean negative log-likelihood of a token, for text)
            that would not matter.
        progress: where to show it.

    Returns:
        The search with its explanation.

    Raises:
        UserError: no such run, one of another command, one that truncated nothing, or whose model
            or data have changed.
    """
    searched = read_search(run, load, progress)
    explanation = explained(searched, passes.control_seeds, progress)
    spread = dict(
        luck(
            searched,
            seeds=seeds,
            draws=passes.draws,
            orders=passes.orders,
            examples=passes.examples,
            progress=progress,
        )
    )
    effects = side_effects(searched, also or {}, margin, progress)
    perplexities = {
        Path(path).name: perplexity(searched.model, path, edit=searched.edit, progress=progress)[0]
        for path in texts
    }
    effects, perplexities = corrected(effects, perplexities, margin)
    origin = None
    if passes.origins:
        origin = origins(
            searched.model,
            searched.edit,
            searched.first,
            examples=passes.origins,
            directions=passes.directions,
            progress=progress,
        )
    explanation = replace(
        explanation, spread=spread, also=effects, texts=perplexities, origins=origin
    )
    result = replace(searched.result, explanation=explanation)
    fields = {**searched.run.fields, "explanation": explanation.to_json()}
    write_whole(searched.run.path / RESULT, pretty(fields))
    return result
