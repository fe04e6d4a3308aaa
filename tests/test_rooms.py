"""The rooms of the house: what may import what, read from the source."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]

FLOORS = (
    ("paper_figures",),
    ("experiments", "jaxsvd.__main__"),
    ("jaxsvd.cli", "jaxsvd"),
    ("jaxsvd.commands",),
    ("jaxsvd.score", "jaxsvd.page", "jaxsvd.selection", "jaxsvd.lm_eval"),
    ("jaxsvd.encoded_task", "jaxsvd.train_statistics"),
    ("jaxsvd.model", "jaxsvd.results"),
    ("jaxsvd.edits",),
    ("jaxsvd.engine", "jaxsvd.generation"),
    ("jaxsvd.tokenizer",),
    ("jaxsvd.checkpoints",),
    ("jaxsvd.devices", "jaxsvd.errors"),
    ("jaxsvd.models", "jaxsvd.runs", "jaxsvd.svd", "jaxsvd.condition_number", "jaxsvd.tasks"),
    ("jaxsvd.runtime", "theory"),
)
"""From the top; a room imports only from floors below its own. See docs/layout.md."""

FLOOR = {room: depth for depth, floor in enumerate(FLOORS) for room in floor}


BY_NAME = ("importlib.import_module", "import_module", "runpy.run_module", "run_module")
"""Calls that import what a text names."""

ALLOWED_UP = {("jaxsvd.cli", "experiments")}
"""``jaxsvd experiment NAME`` runs ``python -m experiments.NAME``, and experiments stand on the
command line's options. It is one call by name, when the command is given; nothing else goes up."""


def modules(package: str) -> dict[str, Path]:
    """The files of a package by dotted name."""
    files = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


OURS = {name: path for room in ("jaxsvd", "experiments", "paper_figures", "theory")
        for name, path in modules(room).items()}  # fmt: skip


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports anywhere, for type checkers alone too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: relative import"
            assert node.level == 0, f"{path}: relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in OURS else node.module for name in inner}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in BY_NAME:
            values = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
            names |= {value for value in values if isinstance(value, str)}
    return names


def room_of(module: str) -> str:
    """``jaxsvd.engine`` of ``jaxsvd.engine.kernels``; other packages are a room each."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "jaxsvd" else parts[0]


def arrows() -> dict[tuple[str, str], set[str]]:
    """Which room imports which, and the files that do."""
    actual = defaultdict(set)
    for name, path in OURS.items():
        for target in imported(path):
            if target in OURS and room_of(target) != room_of(name):
                actual[room_of(name), room_of(target)].add(name)
    return actual


def test_every_room_stands_on_a_floor() -> None:
    rooms = {room_of(name) for name in OURS}
    assert rooms == FLOOR.keys()
    assert len(rooms) <= 28


def test_no_arrow_goes_up_and_none_stays_on_its_floor() -> None:
    """So there is no circle either."""
    wrong = {
        f"{a} -> {b}": sorted(files)
        for (a, b), files in arrows().items()
        if FLOOR[a] >= FLOOR[b]
        # The package itself offers the public names, and the version.
        and b != "jaxsvd"
        and (a, b) not in ALLOWED_UP
    }
    assert wrong == {}


def test_figures_need_no_model() -> None:
    """They are drawn from run directories alone."""
    heavy = ("jax", "flax", "jaxsvd.model", "jaxsvd.engine", "jaxsvd.edits", "jaxsvd.checkpoints")
    for name, path in modules("paper_figures").items():
        for target in imported(path):
            assert not any(target == h or target.startswith(h + ".") for h in heavy), name


def test_the_arrow_that_goes_up_is_one_call() -> None:
    for pair in ALLOWED_UP:
        assert len(arrows()[pair]) == 1


def test_imports_by_name_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text('import importlib\nimportlib.import_module("jaxsvd.cli.main")\n')
    assert "jaxsvd.cli.main" in imported(path)
