import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

from masa_cli import __version__
from masa_cli.cli import doctor as packages
from masa_cli.cli.app import app
from masa_cli.cli.doctor import examine_packages
from masa_cli.detectors import WORDS, detectors_taking
from masa_cli.models.variants import VARIANTS
from masa_cli.segmenters import SEGMENTERS

BROKEN = {
    "torch": 'raise OSError("libcudart.so.13: cannot open shared object file")',
    "torchvision": 'raise RuntimeError("operator torchvision::nms does not exist\\nTrace: 1")',
    "av": 'raise ImportError("libavcodec.so: wrong ELF class")',
    "cv2": 'raise ImportError("libGL.so.1: cannot open shared object file")',
    "huggingface_hub": 'raise ImportError("no module named filelock")',
}


@pytest.fixture(autouse=True)
def clean_machine(tmp_path, monkeypatch):
    monkeypatch.delenv("MASA_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def doctor(*arguments):
    result = CliRunner().invoke(app, ["doctor", *map(str, arguments)])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def commands(facts):
    return {each["command"]: each for each in facts["commands"]}


@pytest.fixture
def doctor_of_a_broken_machine(tmp_path):
    """What the command prints where nothing compiled loads."""
    for name, code in BROKEN.items():
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text(code)
    paths = os.pathsep.join([str(tmp_path / "broken"), *filter(None, sys.path)])

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "masa_cli", "doctor", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": paths},
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def test_it_tells_what_this_machine_is():
    facts = json.loads(doctor("--json"))
    assert facts["masa"] == __version__
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["cores"] >= 1
    assert facts["memory"] is None or facts["memory"] > 1e8
    assert "cpu" in [device["name"] for device in facts["devices"]]
    assert facts["codecs"]["libx264 (encoder)"]
    assert facts["codecs"]["h264 (decoder)"]
    assert all(free > 0 for free in facts["free"].values())
    torch = next(each for each in facts["packages"] if each["name"] == "torch")
    assert torch["installed"] == metadata.version("torch")
    assert torch["problem"] is None


def test_every_adapter_and_detector_has_its_line():
    names = set(commands(json.loads(doctor("--json"))))
    complete = {name for name, row in VARIANTS.items() if row.is_complete}
    assert complete == VARIANTS.keys() - {"lite-learned"}  # it has no weights but a user's
    assert {n for n in names if "--adapter" in n} == {f"masa track --adapter {n}" for n in complete}
    told = {row.name for row in detectors_taking(*WORDS) if not row.form}
    own = {row.form for row in detectors_taking(*WORDS) if row.form}
    assert {f"masa track --detector {form}" for form in own} <= names
    assert {n for n in names if "--prompt" in n} == {f"masa track --prompt, with {n}" for n in told}
    assert {f"masa track --masks --segmenter {row.written}" for row in SEGMENTERS.values()} <= names
    models = {row.weights for row in detectors_taking("nothing")}
    assert {f"masa segment-track --model {name}" for name in models} <= names


def test_weights_make_a_command_ready(tmp_path):
    command = "masa track --prompt, with gdino-swint"
    folder = tmp_path / "weights"
    folder.mkdir()
    before = commands(json.loads(doctor("--json", "--weights-dir", folder)))[command]
    assert not before["ready"]
    assert before["missing"] == [
        "groundingdino_swint_ogc.pth, bert-base-uncased-vocab.txt: "
        "masa weights pull gdino-swint bert-vocab"
    ]
    (folder / "groundingdino_swint_ogc.pth").touch()
    (folder / "bert-base-uncased-vocab.txt").touch()
    facts = json.loads(doctor("--json", "--weights-dir", folder))
    assert commands(facts)[command]["ready"]
    assert facts["weights"] == ["gdino-swint", "bert-vocab"]


def test_people_read_the_same(tmp_path):
    shown = doctor()
    for word in (f"masa {__version__}", "device cpu", "free in", "libx264", "weights here: none"):
        assert word in shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["masa", "track", "--association", "motion", "yes", "-"] in lines


def test_a_broken_machine_is_described_not_crashed_on(doctor_of_a_broken_machine):
    facts = json.loads(doctor_of_a_broken_machine("--json"))
    problems = {each["name"]: each["problem"] for each in facts["packages"] if each["problem"]}
    assert problems["torch"] == (
        "torch does not load: libcudart.so.13: cannot open shared object file"
    )
    assert problems["torchvision"].endswith("operator torchvision::nms does not exist")
    assert "libGL.so.1" in problems["opencv-python"]
    assert facts["codecs"] == {}
    assert "libcudart" in facts["devices"][0]["what"]
    ready = commands(facts)
    assert ready["masa eval"]["ready"]
    assert ready["masa render"]["missing"] == [problems["av"], problems["opencv-python"]]
    assert problems["torch"] in ready["masa track --adapter raw"]["missing"]


def test_people_read_of_the_broken_machine(doctor_of_a_broken_machine):
    shown = doctor_of_a_broken_machine()
    assert "torch does not load" in shown
    assert "weights here: none" in shown


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
