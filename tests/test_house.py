"""The limits the package is built within, and that `tests.house` finds what exceeds them."""

from pathlib import Path

import pytest

import masa_cli
from tests.house import (
    AT_IMPORT,
    FOR_TYPES,
    MOST_LINES,
    WHEN_CALLED,
    called_modules,
    circles,
    import_graph,
    imports,
    lines_of,
    lonely,
    modules,
    room_graph,
)

ROOT = Path(masa_cli.__file__).parent
MOST_MODULES = 230
MOST_IN_ROOT = 11  # .py files


def test_there_are_few_modules():
    assert len(modules(ROOT)) <= MOST_MODULES


def test_few_modules_are_in_the_root():
    assert len(list(ROOT.glob("*.py"))) <= MOST_IN_ROOT


def test_no_module_is_too_long():
    lines = {module: lines_of(file) for module, file in modules(ROOT).items()}
    assert {module: number for module, number in lines.items() if number > MOST_LINES} == {}


def test_imports_make_no_circle():
    graph = import_graph(modules(ROOT))
    assert circles(graph) == []
    assert circles(room_graph(graph)) == []


@pytest.fixture
def package(tmp_path):
    """Makes a package `toy` of the given texts, by file, and returns its modules."""

    def make(**texts):
        for name, text in {"__init__": "", **texts}.items():
            file = tmp_path / "toy" / f"{name.replace('__in__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return modules(tmp_path / "toy")

    return make


def test_each_file_is_a_module_packages_included(package):
    files = package(one="", room__in____init__="", room__in__two="")
    assert list(files) == ["toy", "toy.one", "toy.room", "toy.room.two"]


def test_two_modules_that_import_one_another_are_a_circle(package):
    files = package(one="import toy.two", two="from toy import one", three="import toy.one")
    assert circles(import_graph(files)) == [["toy.one", "toy.two", "toy.one"]]


def test_a_shortest_circle_is_shown(package):
    files = package(
        one="from toy import two, three", two="from toy import three", three="from .one import x"
    )
    assert circles(import_graph(files)) == [["toy.one", "toy.three", "toy.one"]]


def test_circles_apart_from_each_other_are_all_found(package):
    files = package(one="import toy.two", two="import toy.one", a="import toy.b", b="import toy.a")
    assert [circle[0] for circle in circles(import_graph(files))] == ["toy.a", "toy.one"]


def test_imports_that_run_later_or_never_make_no_circle(package):
    never = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toy.one import X\n"
    files = package(
        one="from toy import two, three",
        two=never,
        three="def f():\n    import toy.one",
    )
    assert circles(import_graph(files)) == []
    assert ("toy.two", "toy.one", FOR_TYPES) in set(imports(files))
    late = import_graph(files, whens=(AT_IMPORT, WHEN_CALLED))
    assert circles(late) == [["toy.one", "toy.three", "toy.one"]]


def test_imports_within_classes_and_branches_run_at_import(package):
    files = package(
        one="class A:\n    import toy.two",
        two="try:\n    import toy.three\nexcept ImportError:\n    pass",
        three="if True:\n    import toy.one",
    )
    assert circles(import_graph(files)) == [["toy.one", "toy.two", "toy.three", "toy.one"]]


def test_a_package_runs_before_what_is_in_it(package):
    """`outside` is imported by the package that it imports a part of."""
    files = package(
        outside="import toy.room.part", room__in____init__="import toy.outside", room__in__part=""
    )
    assert circles(import_graph(files)) == [["toy.outside", "toy.room", "toy.outside"]]


def test_a_package_may_import_its_own_modules(package):
    files = package(
        room__in____init__="from toy.room import a",
        room__in__a="from toy.room.b import x",
        room__in__b="",
    )
    assert circles(import_graph(files)) == []


def test_a_module_that_asks_its_package_for_a_name_is_in_a_circle(package):
    files = package(
        room__in____init__="from toy.room.a import x", room__in__a="from toy.room import y"
    )
    assert circles(import_graph(files)) == [["toy.room", "toy.room.a", "toy.room"]]


def test_rooms_may_be_in_a_circle_though_no_module_is(package):
    files = package(
        up__in__one="import toy.down.one",
        down__in__one="",
        down__in__two="import toy.up.two",
        up__in__two="",
    )
    graph = import_graph(files)
    assert circles(graph) == []
    assert circles(room_graph(graph)) == [["toy.down", "toy.up", "toy.down"]]


def test_small_modules_with_a_single_importer_are_lonely(package):
    files = package(
        one="import toy.small, toy.long, toy.shared",
        two="def f():\n    import toy.shared",
        small="",
        long="x = 1\n" * 80,
        shared="",
    )
    assert lonely(files) == [("toy.small", "toy.one")]


def test_functions_that_are_called_count_and_imports_do_not(tmp_path):
    root = tmp_path / "masa_cli"
    root.mkdir()
    for name, text in {
        "__init__": "",
        "__main__": "def main():\n    from masa_cli.late import run\n    run()",
        "late": "from masa_cli import table, thread\ndef run():\n    thread.start()",
        "table": "class Row:\n    x = 1\ndef make():\n    return Row()\nROWS = [make()]",
        "thread": "import threading\nfrom masa_cli import inside\n"
        "def start():\n    t = threading.Thread(target=inside.f)\n    t.start()\n    t.join()",
        "inside": "def f():\n    pass",
    }.items():
        (root / f"{name}.py").write_text(text)
    called = called_modules(root, [])
    assert called == [f"masa_cli.{name}" for name in ("__main__", "inside", "late", "thread")]
