from importlib import metadata

import pytest

from masa_cli import packages
from masa_cli.packages import examine_packages


@pytest.fixture
def requires(monkeypatch):
    """Make these the requirements of masa."""
    return lambda *lines: monkeypatch.setattr(metadata, "requires", lambda name: list(lines))


def test_the_real_requirements_are_met():
    found = {package.name: package for package in examine_packages()}
    assert found["numpy"].installed == metadata.version("numpy")
    assert found["numpy"].problem is None
    assert found["numpy"].extra is None
    assert found["trackeval"].extra == "eval"
    assert not {"pytest", "ruff"} & set(found)


def test_what_is_missing_says_what_to_install(requires):
    requires("no-such-package>=1", "no-such-metric>=2; extra == 'eval'")
    base, extra = examine_packages()
    assert base.problem == "no-such-package is not installed: pip install masa"
    assert extra.problem == "no-such-metric is not installed: pip install 'masa[eval]'"


def test_a_version_that_is_too_old_says_so(requires):
    requires("rich>=1000")
    [package] = examine_packages()
    installed = metadata.version("rich")
    assert package.problem == (
        f"rich {installed} is installed, >=1000 is wanted: pip install -U masa"
    )


def test_what_this_python_does_not_need_is_left_out(requires):
    requires("tomli>=2; python_version < '3.0'", "rich")
    assert [package.name for package in examine_packages()] == ["rich"]


def test_a_module_from_another_distribution_counts(requires, monkeypatch):
    """Such as cv2 from opencv-python-headless."""
    monkeypatch.setitem(packages._COMPILED, "no-such-package", "math")
    requires("no-such-package>=1")
    [package] = examine_packages()
    assert (package.installed, package.problem) == (None, None)


def test_masa_that_only_lies_there_has_no_requirements_to_show(monkeypatch):
    def requires(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert examine_packages() == []


def test_each_extra_is_known_by_its_name(requires):
    requires("no-such-table>=1; extra == 'parquet'", "no-such-cluster; extra == 'ray'")
    found = {package.name: package for package in examine_packages()}
    assert found["no-such-table"].extra == "parquet"
    assert "pip install 'masa[ray]'" in found["no-such-cluster"].problem
