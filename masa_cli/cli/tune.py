"""`masa tune`: settings of an association for one's own videos, judged on what they did not see."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from masa_cli.cli import options
from masa_cli.cli.command import IDENTITY, INPUT, OUTPUTS, RUNNING, choice, listed, option
from masa_cli.errors import SettingsError, SourceError, UsageError
from masa_cli.tracking import DEFAULT, PRESET_ENDING, TRACKERS

if TYPE_CHECKING:
    from masa_cli.formats.preset import Preset
    from masa_cli.jobs.job import Association
    from masa_cli.jobs.search import Dimension
    from masa_cli.jobs.trials import TunedSequence, Tuning
    from masa_cli.jobs.tune import Outcome

Runs = Annotated[
    list[Path],
    typer.Argument(
        rich_help_panel=INPUT,
        metavar="RUNS",
        help="Folders of runs of masa track --save-embeddings, or their embeddings.masa. Several "
        "sequences are better than one: settings are judged by those they were not chosen on.",
        show_default=False,
    ),
]
Truth = Annotated[
    list[str],
    option(
        INPUT,
        "--truth",
        metavar="PATH",
        help="The truth, MOTChallenge's gt.txt: a file for each run, in their order (--truth given "
        "as often); or one folder of <name>/gt/gt.txt, <name>/gt.txt or <name>.txt; or a pattern "
        "such as data/{name}/gt.txt. A name is that of the run's folder, or of the video.",
        show_default=False,
    ),
]
AllClasses = Annotated[
    bool,
    option(
        INPUT,
        "--all-classes",
        help="Score all objects of the truth, of whatever class; else pedestrians alone, where it "
        "tells classes.",
    ),
]
AssociationName = Annotated[
    str,
    option(
        IDENTITY,
        "--association",
        help=f"Whose settings are searched:\n{listed(TRACKERS)}\nFILE: .toml, to start from",
        **choice(lambda: list(TRACKERS), "association", PRESET_ENDING),
    ),
]
Metric = Annotated[
    Literal["idf1", "hota", "mota"],
    option(IDENTITY, "--metric", help="What is made as high as can be."),
]
Searched = Annotated[
    list[str],
    option(
        IDENTITY,
        "--search",
        metavar="NAME[=LOW:HIGH]",
        help="Search this setting, perhaps between these numbers; may be repeated. Few settings "
        "are found more surely than many.",
        show_default="all numbers",
    ),
]
Output = Annotated[
    Path | None,
    option(
        OUTPUTS,
        "--output",
        "-o",
        help="The file of settings, .toml, for --association.",
        show_default="<association>-tuned.toml, here",
    ),
]
NumTrials = Annotated[
    int,
    option(
        RUNNING,
        "--trials",
        min=1,
        help="Settings to try: on all sequences, and as many again "
        "without each of them (or each fifth of them).",
    ),
]
Seconds = Annotated[
    float | None,
    option(
        RUNNING,
        "--seconds",
        min=0,
        help="Try no more settings after so long.",
        show_default="no limit",
    ),
]
Seed = Annotated[int, option(RUNNING, "--seed", min=0, help="The same seed, the same result.")]


def tune(
    runs: Runs,
    truth: Truth,
    association: AssociationName = DEFAULT,
    all_classes: AllClasses = False,
    metric: Metric = "idf1",
    search: Searched = [],  # noqa: B006 - Typer copies it
    changes: options.Changes = [],  # noqa: B006 - Typer copies it
    refine: options.Refine = True,
    output: Output = None,
    trials: NumTrials = 100,
    seconds: Seconds = None,
    seed: Seed = 0,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Search better settings of an association on your own videos, given their truth.

    No network runs: boxes and embeddings are those that runs kept. Settings are recommended only if
    they gain more than chance on sequences that they were not chosen on; otherwise the file has the
    defaults.
    """
    from masa_cli.cli.console import messages, show, show_json, stops_on_signals
    from masa_cli.formats.preset import preset_for, write_preset
    from masa_cli.jobs.trials import Tuning
    from masa_cli.jobs.tune import tune as run
    from masa_cli.progress import RunProgress

    progress = RunProgress()
    limit = float("inf") if seconds is None else seconds
    with messages(quiet=quiet or json), stops_on_signals(progress):
        base = preset_for(association)
        path = output or Path(f"{base.association}-tuned{PRESET_ENDING}")
        log = path.with_name(f"{path.name}.trials")
        _check_output(path, log, Path(association), overwrite=overwrite, resume=resume)
        start, dimensions = _start(base, changes, search, refine=refine)
        sequences = _sequences(runs, truth, start.name, all_classes=all_classes)
        tuning = Tuning(start, dimensions, sequences, log, metric, trials, limit, seed)
        outcome = run(tuning, resume=resume, stop_requested=lambda: progress.stop_requested)
        preset = _preset(tuning, outcome)
        write_preset(path, preset)
        log.unlink(missing_ok=True)
    if json:
        show_json(_record(path, preset, outcome))
    elif not quiet:
        _show(tuning, outcome)
        show(f"written: {path}")


def _check_output(path: Path, log: Path, base: Path, *, overwrite: bool, resume: bool) -> None:
    """Raise what concerns the results, before anything is searched."""
    from masa_cli.errors import OutputError
    from masa_cli.formats.files import make_folder, refuse_existing, refuse_inputs

    if path.suffix != PRESET_ENDING:
        raise UsageError(
            f"{path} would not be known as a file of settings",
            fix=f"give -o a name that ends with {PRESET_ENDING}",
        )
    refuse_inputs([path], [base])
    if overwrite and resume:
        raise SettingsError("--overwrite and --resume exclude each other", fix="choose one")
    if not overwrite:
        refuse_existing([path])
        if log.exists() and not resume:
            raise OutputError(
                f"{log} is of an interrupted search",
                fix="go on with --resume, or start again with --overwrite",
            )
    make_folder(path.parent)


def _start(
    base: Preset, changes: Sequence[str], search: Sequence[str], *, refine: bool
) -> tuple[Association, list[Dimension]]:
    """What the search starts from, and what it searches."""
    from masa_cli.jobs.job import Association
    from masa_cli.jobs.search import chosen, dimensions_of, linking_dimensions
    from masa_cli.settings import with_changes
    from masa_cli.tracking import find_tracker

    row = find_tracker(base.association)
    own = base.changes if refine else base.tracker_changes
    start = Association(base.association, (*own, *changes), refine=refine)
    start.check()
    dimensions = dimensions_of(with_changes(row.settings(), start.tracker_changes))
    if start.refinement.linking is not None:
        dimensions += linking_dimensions(start.linking_settings)
    fixed = [change.partition("=")[0].strip() for change in changes]
    return start, chosen(dimensions, search, fixed)


def _sequences(
    runs: Sequence[Path], truths: Sequence[str], association: str, *, all_classes: bool
) -> list[TunedSequence]:
    """Each run with its truth."""
    from masa_cli.formats.embeddings import EmbeddingsReader
    from masa_cli.jobs.plan import warn_of_settings
    from masa_cli.jobs.trials import read_sequence

    files = [_embeddings(run) for run in runs]
    names = [
        file.absolute().parent.name if file.stem == "embeddings" else file.stem for file in files
    ]
    if len({file.resolve() for file in files}) < len(files):
        raise UsageError("a run is given twice", fix="give each once: it is judged by the others")
    given = [Path(truth) for truth in truths]
    by_name = len(given) == 1 and ("{name}" in truths[0] or given[0].is_dir())
    if not by_name and len(given) != len(files):
        raise UsageError(
            f"{len(files)} runs, but {len(given)} files of truth",
            fix="give --truth once for each run, or a folder, or a pattern with {name}",
        )
    found = []
    for index, (name, file) in enumerate(zip(names, files, strict=True)):
        own = [name, EmbeddingsReader(file).info.name]
        path = _truth_of(own, given[0]) if by_name else given[index]
        title = name if names.count(name) == 1 else str(file.parent)
        found.append(read_sequence(title, file, path, all_classes=all_classes))
        warn_of_settings(found[-1].recording.kept, association)
    return found


def _embeddings(run: Path) -> Path:
    file = run / "embeddings.masa" if run.is_dir() else run
    if not file.is_file():
        raise SourceError(
            f"{file} does not exist",
            fix="give runs of masa track --save-embeddings, or their embeddings.masa",
        )
    return file


def _truth_of(names: Sequence[str], place: Path) -> Path:
    """The truth of a sequence that has one of these names."""
    patterns = (
        [place]
        if "{name}" in str(place)
        else [place / each for each in ("{name}/gt/gt.txt", "{name}/gt.txt", "{name}.txt")]
    )
    for name in names:
        for pattern in patterns:
            path = Path(str(pattern).replace("{name}", name))
            if path.is_file():
                return path
    raise SourceError(
        f"there is no truth for {names[0]}: no {patterns[0]} for the name {' or '.join(names)}",
        fix="give --truth once for each run, in their order",
    )


def _preset(tuning: Tuning, outcome: Outcome) -> Preset:
    """What is recommended: the settings that were found, or those that the search started from."""
    from masa_cli import __version__
    from masa_cli.formats.preset import Preset, change_of
    from masa_cli.jobs.tune import start_settings

    found = dict(outcome.found)
    notes = ["Settings of an association that masa tune found, for --association of masa track."]
    if not outcome.is_gain:
        notes.append("Nothing that was tried is better than the start by more than chance.")
        notes += [f"tried: {change_of(name, value)}" for name, value in found.items()]
        found = {}
    gain = outcome.gain
    return Preset(
        tuning.association.name,
        start_settings(tuning.association) | found,
        {
            "masa": __version__,
            "command": shlex.join(["masa", *sys.argv[1:]]),
            "metric": tuning.metric,
            "sequences": ", ".join(each.name for each in tuning.sequences),
            "frames": sum(each.num_frames for each in tuning.sequences),
            "trials": outcome.num_trials,
            "seed": tuning.seed,
            "gain_on_unseen": round(gain.mean, 4),
            "gain_low": round(gain.low, 4),
            "gain_high": round(gain.high, 4),
            "is_gain": outcome.is_gain,
        },
        tuple(notes),
    )


def _record(path: Path, preset: Preset, outcome: Outcome) -> dict[str, object]:
    gain = outcome.gain
    return {
        "written": str(path),
        "association": preset.association,
        "settings": dict(preset.settings),
        "tried": dict(outcome.found),
        "is_gain": outcome.is_gain,
        "gain": {"mean": gain.mean, "low": gain.low, "high": gain.high, "chunks": gain.num_chunks},
        "unseen": [
            {"name": each.name, "start": each.default, "tuned": each.tuned} for each in outcome.held
        ],
        "all": {"start": outcome.default_score, "tuned": outcome.found_score},
        "trials": outcome.num_trials,
    }


def _show(tuning: Tuning, outcome: Outcome) -> None:
    """What was found, how it does on what it was not chosen on, and what that is worth."""
    from masa_cli.cli.console import show, show_table
    from masa_cli.evaluation.chunks import CHUNK_FRAMES

    metric, gain = tuning.metric.upper(), outcome.gain
    if outcome.found:
        now = {each.name: each.default for each in tuning.dimensions}
        rows = [(name, f"{now[name]:g}", f"{value:g}") for name, value in outcome.found.items()]
        show_table(("setting", "start", "best"), rows)
        show("")
    rows = [
        (each.name, f"{100 * each.default:.1f}", f"{100 * each.tuned:.1f}") for each in outcome.held
    ]
    show_table((f"{metric} of what a search did without", "start", "best"), rows)
    show("")
    show(
        f"on what it was chosen on: {metric} {100 * outcome.default_score:.1f} to "
        f"{100 * outcome.found_score:.1f}"
    )
    show(
        f"on what it was not: {100 * gain.mean:+.1f}; resampling {gain.num_chunks} chunks of "
        f"{CHUNK_FRAMES} frames, 95 % within {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    )
    if outcome.is_gain:
        show("the gain is more than chance: these settings are recommended")
        return
    why = "nothing better was found"
    if outcome.found:
        why = "the gain is within noise" if gain.mean > 0 else "what is chosen does not carry over"
    show(f"{why}: the settings at the start are recommended, and written")
