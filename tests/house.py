"""How the package is built, in numbers: modules, their lines, the circles their imports make.

    python -m tests.house [--root FOLDER] [--calls]

FOLDER is the folder of a package, perhaps of another checkout (default: the masa_cli that would be
imported here). `--calls` also tracks a small clip twice with the code there, by a prompt and by
given boxes, and counts the modules whose functions are called on the way: what one has to read to
follow a run. Which limits hold is told in tests/test_house.py.

What counts as an import: `import a.b` and `from a.b import c`, by any dotted name that is a module
of the package. It also runs the `__init__` of each package on the way to it, unless the importing
module lies in there. Names in strings, for `import_module`, are not seen.
"""

# ruff: noqa: T201 - printing is what it is for

from __future__ import annotations

import argparse
import ast
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import cv2
import numpy as np

MOST_LINES = 450  # of one module
SMALL = 80  # a module of fewer lines with a single importer belongs into that importer
# When an import runs: with its module, within a function, never (for type checkers alone).
WHENS = AT_IMPORT, WHEN_CALLED, FOR_TYPES = "at import", "when called", "for types"

Graph = Mapping[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Each module of the package in `root` with its file, by dotted name; packages included."""
    files = {}
    for file in sorted(root.rglob("*.py")):
        parts = (root.name, *file.relative_to(root).with_suffix("").parts)
        files[".".join(parts).removesuffix(".__init__")] = file
    return files


def lines_of(file: Path) -> int:
    return len(file.read_text().splitlines())


def imports(files: Mapping[str, Path]) -> Iterator[tuple[str, str, str]]:
    """Each import of one module by another: importer, imported, and when it runs."""
    for module, file in files.items():
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for name, when in _named(ast.parse(file.read_text()), package, AT_IMPORT):
            # `from a import b` names the module a.b, or else something in the module a.
            target = name if name in files else name.rpartition(".")[0]
            if target in files and target != module:
                yield module, target, when


def _named(node: ast.AST, package: str, when: str) -> Iterator[tuple[str, str]]:
    """Dotted names that are imported below a node, and when."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - child.level + 1]
            parts = (above if child.level else []) + ([child.module] if child.module else [])
            yield from ((".".join([*parts, alias.name]), when) for alias in child.names)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _named(child, package, WHEN_CALLED)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _named(ast.Module(child.body, []), package, FOR_TYPES)
            yield from _named(ast.Module(child.orelse, []), package, when)
        else:
            yield from _named(child, package, when)


def import_graph(files: Mapping[str, Path], *, whens: tuple[str, ...] = (AT_IMPORT,)) -> Graph:
    """What runs first when a module is imported: what it names, and the packages around that."""
    graph: dict[str, set[str]] = {module: set() for module in files}
    for module, target, when in imports(files):
        if when in whens:
            packages = {*accumulate(target.split("."), "{}.{}".format)} & graph.keys()
            graph[module] |= {each for each in packages if not f"{module}.".startswith(f"{each}.")}
            graph[module].add(target)  # though it may be a package around the importer
    return graph


def room_graph(graph: Graph) -> Graph:
    """The same between rooms: the folders and the modules in the root of the package."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, targets in graph.items():
        rooms[_room(module)] |= {_room(target) for target in targets} - {_room(module)}
    return rooms


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def circles(graph: Graph) -> list[list[str]]:
    """Of each group of nodes that all reach one another a shortest circle, first node last too."""
    reached = {node: _shortest_ways(graph, node) for node in graph}
    found, seen = [], set()
    for node in sorted(graph):
        group = {other for other in reached[node] if node in reached[other]}
        if node in group and node not in seen:
            seen |= group
            found.append(min((reached[each][each] for each in sorted(group)), key=len))
    return found


def _shortest_ways(graph: Graph, start: str) -> dict[str, list[str]]:
    """A shortest way from a node to each that can be reached, at least one step long."""
    ways: dict[str, list[str]] = {}
    ends = [[start]]
    while ends:
        way = ends.pop(0)
        for target in sorted(graph.get(way[-1], ())):
            if target not in ways:
                ways[target] = [*way, target]
                ends.append(ways[target])
    return ways


def lonely(files: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Small modules that one other alone imports, whenever, and that one; packages left out."""
    importers = defaultdict(set)
    for module, target, _ in imports(files):
        importers[target].add(module)
    return [
        (module, *importers[module])
        for module, file in files.items()
        if file.name != "__init__.py" and len(importers[module]) == 1 and lines_of(file) < SMALL
    ]


# Runs the command in argv[2:] in this process and prints, last, the files below the folder argv[1]
# whose functions were called. Bodies of modules and classes are no functions (their locals are not
# optimised), and what they call while they are imported does not count either.
RECORDER = """
import inspect, json, sys, threading
from masa_cli.__main__ import main

root, sys.argv = sys.argv[1], ["masa", *sys.argv[2:]]
called = set()

def record(frame, event, argument):
    file = frame.f_code.co_filename
    if event == "call" and file not in called and file.startswith(root) and not is_import(frame):
        called.add(file)

def is_import(frame):
    while frame and (is_function(frame.f_code) or not frame.f_code.co_filename.startswith(root)):
        frame = frame.f_back
    return frame is not None

def is_function(code):
    return code.co_flags & inspect.CO_OPTIMIZED

threading.setprofile(record)
sys.setprofile(record)
try:
    main()
except SystemExit as end:
    if end.code:
        raise
sys.setprofile(None)
print(json.dumps(sorted(called)))
"""


def called_modules(root: Path, command: list[str]) -> list[str]:
    """Modules of the package in `root` whose functions a command of its program calls."""
    run = subprocess.run(
        [sys.executable, "-c", RECORDER, f"{root}{os.sep}", *command],
        env={**os.environ, "PYTHONPATH": str(root.parent)},
        cwd=root.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    names = {str(file): module for module, file in modules(root).items()}
    return [names[file] for file in json.loads(run.stdout.splitlines()[-1])]


def write_clip(folder: Path) -> tuple[Path, Path]:
    """Two figures that pass each other, which `lite` takes for persons, and their boxes with a gap.

    Written without masa_cli, whose modules may have other names in another checkout.
    """
    video, dets = folder / "street.mp4", folder / "dets.txt"
    rows = []
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"mp4v"), 25, (320, 240))
    for index in range(30):
        image = np.full((240, 320, 3), 150, np.uint8)
        for x, y, shirt in (80 + 3 * index, 60, (0, 0, 200)), (260 - 3 * index, 70, (0, 160, 0)):
            _draw_figure(image, x, y, shirt)
            if index not in range(5, 8):
                rows.append(f"{index + 1},-1,{x - 31},{y},62,150,0.9\n")
        writer.write(image)
    writer.release()
    dets.write_text("".join(rows))
    return video, dets


def _draw_figure(image: np.ndarray, x: int, y: int, shirt: tuple[int, int, int]) -> None:
    """A person of 150 pixels, the top of the head at (x, y)."""
    for side in (-1, 1):
        cv2.line(image, (x + side * 8, y + 82), (x + side * 15, y + 147), (60, 40, 30), 16)
        cv2.line(image, (x + side * 21, y + 33), (x + side * 27, y + 82), shirt, 11)
    cv2.rectangle(image, (x - 19, y + 27), (x + 19, y + 87), shirt, -1)
    cv2.circle(image, (x, y + 13), 12, (140, 170, 220), -1)


def print_measures(root: Path) -> None:
    files = modules(root)
    lines = {module: lines_of(file) for module, file in files.items()}
    longest = sorted(lines, key=lambda module: (-lines[module], module))
    too_long = [module for module in longest if lines[module] > MOST_LINES]
    kinds = Counter(when for _, _, when in set(imports(files)))
    print(f"{root}: {len(files)} modules, {sum(lines.values()) / len(files):.0f} lines on average")
    print(f"longest: {', '.join(f'{module} {lines[module]}' for module in longest[:5])}")
    print(f"over {MOST_LINES} lines: {', '.join(too_long) or 'none'}")
    print(f"files in the root: {sum(file.parent == root for file in files.values())}")
    print(f"imports: {', '.join(f'{kinds[when]} {when}' for when in WHENS)}")
    for title, whens in ("circles", WHENS[:1]), ("with imports when called, circles", WHENS[:2]):
        graph = import_graph(files, whens=whens)
        for name, each in ("modules", graph), ("rooms", room_graph(graph)):
            found = [" > ".join(circle) for circle in circles(each)]
            print(f"{title} of {name}: {', '.join(found) or 'none'}")
    alone = lonely(files)
    print(f"under {SMALL} lines, with a single importer: {len(alone)}")
    for module, importer in alone:
        print(f"    {module} {lines[module]}, {importer}")


def print_calls(root: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        video, dets = write_clip(Path(name))
        for boxes in ["--prompt", "person", "--detector", "lite"], ["--dets", str(dets)]:
            output = Path(name) / boxes[0]
            called = called_modules(root, ["track", str(video), *boxes, "-q", "-o", str(output)])
            print(f"masa track VIDEO {boxes[0]} calls into {len(called)} modules:")
            print(f"    {' '.join(module.removeprefix(f'{root.name}.') for module in called)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.house")
    parser.add_argument("--root", type=Path, help="folder of a package (default: masa_cli's)")
    parser.add_argument("--calls", action="store_true", help="count what two runs call, too")
    arguments = parser.parse_args()
    root = (arguments.root or Path(importlib.util.find_spec("masa_cli").origin).parent).resolve()
    if not (root / "__init__.py").is_file():
        parser.error(f"{root} is no folder of a package: __init__.py is missing")
    print_measures(root)
    if arguments.calls:
        print_calls(root)


if __name__ == "__main__":
    main()
