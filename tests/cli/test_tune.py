"""masa tune: finds what there is to gain, says when there is nothing, and can be gone on with."""

import json
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from masa_cli.cli import tune as command
from masa_cli.cli.app import app
from masa_cli.evaluation.chunks import METRICS
from masa_cli.formats.embeddings import defaults_as_fact
from masa_cli.formats.mot import read_results
from masa_cli.formats.preset import read_preset
from masa_cli.jobs import trials
from masa_cli.jobs.search import dimensions_of, linking_dimensions
from masa_cli.tracking import TRACKERS
from masa_cli.tracking.linking import LinkingSettings
from tests.jobs.kept import keep_run

WEAK = 0.24  # boxes of this score begin no track by the defaults of motion


def masa(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep(folder, *names, **settings):
    for name in names:
        keep_run(folder, name, **settings)
    return names


FEW = ("--association", "motion", "--trials", "12", "--search", "birth_score=0.2:0.9")


def tuned(runs, *options):
    result = masa("tune", *runs, "--truth", "truth", *FEW, "--json", *options)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_settings_that_gain_are_found_and_do_what_they_promise(folder):
    runs = keep(folder, "a", "b", score=WEAK)
    told = tuned(runs)
    assert told["is_gain"]
    assert [each["name"] for each in told["unseen"]] == ["a", "b"]
    for each in told["unseen"]:
        assert each["start"] == 0
        assert each["tuned"] > 0.9
    assert told["gain"]["low"] > 0.9
    preset = read_preset(Path("motion-tuned.toml"))
    assert preset.settings == told["settings"]
    assert preset.settings["birth_score"] < 0.7
    assert not list(folder.glob("*.trials"))
    # By the file, tracks are there that were not.
    for name, count in ("motion", 0), ("motion-tuned.toml", 3):
        out = f"by-{name}"
        again = masa("retrack", "a/embeddings.masa", "--association", name, "-o", out)
        assert again.exit_code == 0, again.stderr
        assert len(set(read_results(Path(out) / "video.txt").ids.tolist())) == count


def test_where_nothing_can_be_gained_the_defaults_are_written(folder):
    runs = keep(folder, "a", "b")
    told = tuned(runs)
    assert not told["is_gain"]
    assert told["settings"] == {}
    assert [each["start"] for each in told["unseen"]] == [each["tuned"] for each in told["unseen"]]
    text = Path("motion-tuned.toml").read_text()
    assert "Nothing that was tried is better" in text


def test_a_gain_on_one_sequence_of_two_is_noise(folder):
    """What is chosen on one of them does nothing for the other."""
    keep(folder, "good")
    keep(folder, "weak", score=WEAK)
    told = tuned(("good", "weak"))
    assert told["all"]["tuned"] > told["all"]["start"]
    assert not told["is_gain"]
    assert told["settings"] == {} != told["tried"]
    text = Path("motion-tuned.toml").read_text()
    assert f"# tried: birth_score={told['tried']['birth_score']}" in text


def test_a_single_sequence_is_judged_by_stretches_of_time(folder):
    keep(folder, "a", score=WEAK, num_frames=260)
    told = tuned(("a",), "--metric", "mota")
    assert [each["name"] for each in told["unseen"]] == [
        "a, frames 1 to 100",
        "a, frames 101 to 200",
        "a, frames 201 to 260",
    ]
    assert told["is_gain"]
    assert told["gain"]["chunks"] == 3


def test_the_table_tells_what_is_recommended(folder):
    runs = keep(folder, "a", "b", score=WEAK)
    result = masa("tune", *runs, "--truth", "truth", *FEW)
    assert result.exit_code == 0, result.stderr
    assert "these settings are recommended" in result.stdout
    assert "birth_score" in result.stdout
    assert "trial 12 of 12" in result.stderr
    assert masa("tune", *runs, "--truth", "truth", *FEW).exit_code == 1  # the file is there
    # Without a track, it does not matter how long they are remembered.
    other = ["--association", "motion", "--trials", 5, "--search", "memory_seconds"]
    options = [*other, "--overwrite", "--metric", "hota"]
    result = masa("tune", *runs, "--truth", "truth", *options)
    assert result.exit_code == 0, result.stderr
    assert "nothing better was found" in result.stdout


def test_an_interrupted_search_goes_on_to_the_same_result(folder, monkeypatch):
    runs = keep(folder, "a", "b", score=WEAK)
    expected = tuned(runs, "-o", "whole.toml")
    score, count = trials._score, 0

    def interrupted(*arguments):
        nonlocal count
        count += 1
        if count == 20:
            raise KeyboardInterrupt
        return score(*arguments)

    options = ["-o", "part.toml"]
    monkeypatch.setattr(trials, "_score", interrupted)
    result = masa("tune", *runs, "--truth", "truth", *FEW, *options)
    assert result.exit_code == 130
    assert Path("part.toml.trials").exists()
    assert not Path("part.toml").exists()
    with Path("part.toml.trials").open("ab") as file:
        file.write(b'[{"birth_score":0.')  # killed while it wrote
    refused = masa("tune", *runs, "--truth", "truth", *FEW, *options)
    assert (refused.exit_code, "--resume" in refused.stderr) == (1, True)
    other = masa("tune", *runs, "--truth", "truth", *FEW, *options, "--resume", "--seed", "1")
    assert (other.exit_code, "of another search" in other.stderr) == (1, True)
    count = 1000
    told = tuned(runs, *options, "--resume")
    assert {**told, "written": ""} == {**expected, "written": ""}
    in_all, count = count - 1000, 1000
    tuned(runs, *options, "--overwrite")
    count_of_all = count - 1000
    assert 0 < in_all < count_of_all - 15  # 19 of them were known
    assert not Path("part.toml.trials").exists()


def test_a_search_ends_after_its_seconds(folder):
    runs = keep(folder, "a", "b")
    told = tuned(runs, "--seconds", "0")
    assert told["trials"] == 3  # the defaults, in each of the searches


def test_settings_that_cannot_work_together_are_passed_over(folder):
    """A momentum above 1 is refused by the settings themselves."""
    runs = keep(folder, "a", "b")
    result = masa(
        *("tune", *runs, "--truth", "truth", "--association", "masa-demo", "--trials", "12"),
        *("--search", "momentum=0.5:9", "--json"),
    )
    assert result.exit_code == 0, result.stderr


def test_what_is_set_is_kept_and_not_searched(folder):
    """Of a tracker that is refined offline, whatever its settings are called."""
    runs = keep(folder, "a", "b")
    own, other = dimensions_of(TRACKERS["hybrid"].settings()), linking_dimensions(LinkingSettings())
    name, value = own[0].name, own[0].at(0.3)
    of_linking, seconds = other[0].name, other[0].at(0.3)
    Path("base.toml").write_text(
        f'kind = "masa preset 1"\nassociation = "hybrid"\n[settings]\n{of_linking} = {seconds}\n'
    )
    options = ["--set", f"{name}={value}", "--trials", "1", "--json", "-o", "new.toml"]
    result = masa("tune", *runs, "--truth", "truth", "--association", "base.toml", *options)
    assert result.exit_code == 0, result.stderr
    settings = read_preset(Path("new.toml")).settings
    assert settings[name] == value
    assert settings[of_linking] == seconds
    assert name not in json.loads(result.stdout)["tried"]


def test_settings_of_the_detector_count_as_those_of_track(folder):
    """A run remembers what went with its detector; here, boxes of that score begin tracks."""
    fact = defaults_as_fact({"motion": ["birth_score=0.3"]})
    runs = keep(folder, "a", "b", score=WEAK, facts=dict([fact]))
    told = tuned(runs, "--trials", "1")
    assert min(each["start"] for each in told["unseen"]) > 0.9


def test_frames_that_the_truth_does_not_tell_of_are_not_scored(folder):
    keep(folder, "a", "b", num_frames=240)
    truth = Path("truth/a.txt")
    lines = [line for line in truth.read_text().splitlines() if int(line.split(",")[0]) <= 120]
    truth.write_text("\n".join(lines))
    result = masa("tune", "a", "b", "--truth", "truth", *FEW, "--trials", "1")
    assert result.exit_code == 0, result.stderr
    assert "a: only frames 1 to 120 of 240 are scored" in result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("a "))
    assert float(line.split()[-1]) > 95


def test_a_truth_of_other_classes_is_scored_if_one_says_so(folder):
    """MOTChallenge scores class 1 alone; of the objects here, two are of class 3."""
    keep(folder, "a", "b")
    for truth in Path("truth").iterdir():
        rows = [line.split(",") for line in truth.read_text().splitlines()]
        truth.write_text("\n".join(",".join([*r[:7], "13"[r[1] != "1"], "1"]) for r in rows))
    few = ("tune", "a", "b", "--truth", "truth", *FEW, "--trials", "1", "--json")
    told = masa(*few, "-o", "1.toml")
    assert told.exit_code == 0, told.stderr
    assert "are not scored" in told.stderr
    assert json.loads(told.stdout)["all"]["start"] < 0.6  # two of three are false, then
    told = masa(*few, "-o", "2.toml", "--all-classes")
    assert json.loads(told.stdout)["all"]["start"] > 0.95
    truth.write_text(truth.read_text().replace(",1,1\n", ",3,1\n"))
    refused = masa(*few, "-o", "3.toml")
    assert (refused.exit_code, "has nothing to score" in refused.stderr) == (1, True)


def test_truth_is_found_by_folder_pattern_and_order(folder):
    runs = keep(folder, "a", "b")
    for index, given in enumerate(
        (["truth/{name}.txt"], ["truth/a.txt", "truth/b.txt"], ["truth"])
    ):
        options = [word for path in given for word in ("--truth", path)]
        result = masa("tune", *runs, *options, *FEW, "--trials", "1", "-o", f"{index}.toml")
        assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("none", "--truth", "truth"), 1, "none does not exist"),
        (("a", "a", "--truth", "truth"), 2, "given twice"),
        (("a", "b", "--truth", "truth/a.txt"), 2, "2 runs, but 1 files of truth"),
        (("a", "--truth", "other"), 1, "there is no truth for a"),
        (("a", "--truth", "truth", "-o", "x.json"), 2, "would not be known"),
        (("a", "--truth", "truth", "--search", "births"), 1, 'no setting "births"'),
        (("a", "--truth", "truth", "--association", "sort"), 2, "unknown association"),
        (("a", "--truth", "truth", "--association", "no.toml"), 1, "no.toml does not exist"),
        (("a", "--truth", "truth", "--association", "b.toml", "-o", "b.toml"), 1, "is an input"),
        (("a", "--truth", "truth", "--set", "x=1"), 1, "no setting to change"),
        (("a", "--truth", "truth"), 1, "could not be judged"),
        (("a", "--truth", "longer.txt"), 1, "tells of frame 900"),
        (("a", "--truth", "empty.txt"), 1, "nothing to score"),
        (("a", "--truth", "truth", "--resume", "--overwrite"), 1, "exclude each other"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_searched(folder, arguments, code, message):
    keep(folder, "a", "b")
    (folder / "other").mkdir()
    Path("b.toml").write_text('kind = "masa preset 1"\nassociation = "motion"\n')
    Path("longer.txt").write_text("900,1,0,0,10,10,1,-1,-1,-1\n")
    Path("empty.txt").write_text("1,1,0,0,10,10,0,-1,-1,-1\n")
    result = masa("tune", *arguments)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert [path.name for path in folder.glob("*.toml*")] == ["b.toml"]


def test_the_choices_of_metrics_are_those_there_are():
    metric = get_type_hints(command.tune, include_extras=True)["metric"]
    assert set(get_args(get_args(metric)[0])) == set(METRICS)
