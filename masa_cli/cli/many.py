"""`masa track` with several videos: one run each, and one summary."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from masa_cli.cli.command import RUNNING, further
from masa_cli.errors import Interrupted, MasaError, SettingsError, SourceError, UsageError
from masa_cli.jobs.batch import Engine, Outcome, Task

if TYPE_CHECKING:
    import typer

logger = logging.getLogger(__name__)

EngineName = Literal["local", "ray"]

JobsOption = Annotated[
    int,
    further(
        RUNNING,
        "--jobs",
        min=0,
        help="Of several videos, so many at a time (with --engine ray: at most; 0 for no limit). "
        "They share the cores, unless --threads says how many threads each has.",
    ),
]
EngineOption = Annotated[
    EngineName,
    further(
        RUNNING,
        "--engine",
        help="Where several videos are tracked: on this machine, or on a Ray cluster.",
    ),
]

# Options that concern all videos together, or are told each of them anew.
_OWN = frozenset({"sources", "output", "dets", "jobs", "engine", "quiet", "json"})
_DETECTIONS = ("{name}.txt", "{name}.csv", "{name}.jsonl", "{name}.json", "{name}/det/det.txt")
_RESULTS = ("tracks.jsonl", "{name}.txt", "{name}.mp4")


def expanded(sources: Sequence[str]) -> list[str]:
    """The sources, patterns such as *.mp4 replaced by what they match, in order, each once.

    Raises:
        SourceError: a pattern matches nothing.
    """
    unique: dict[str, None] = {}
    for source in sources:
        is_pattern = glob.has_magic(source) and "://" not in source and not Path(source).exists()
        matches = sorted(glob.glob(source, recursive=True)) if is_pattern else [source]
        if not matches:
            raise SourceError(f"{source} matches nothing", fix="check the pattern for a typo")
        unique.update(dict.fromkeys(matches))
    return list(unique)


def detections_of(source: str | None, dets: Path | None) -> Path | None:
    """The file of detections for one source, where the user gave a folder or a pattern of them.

    Raises:
        SourceError: the folder has no file for it, or several.
    """
    if source is None or dets is None or not (dets.is_dir() or "{name}" in str(dets)):
        return dets
    return _detections(dets, _name(source), 1)


def track_many(
    ctx: typer.Context,
    sources: Sequence[str],
    *,
    dets: Path | None,
    output: Path | None,
    jobs: int,
    engine: EngineName,
    quiet: bool,
    json: bool,
) -> None:
    """Track each source by itself, into a folder of its own; other arguments are the user's.

    Raises:
        MasaError: of the options; or at the end, if a video could not be tracked.
        Interrupted: the user asked to stop.
    """
    from masa_cli.cli.console import messages, stops_on_signals
    from masa_cli.progress import RunProgress

    progress = RunProgress()
    with messages(quiet=quiet or json), stops_on_signals(progress):
        tasks = _tasks(sources, _options(ctx), dets, output or Path())
        if ctx.params["resume"]:
            tasks = list(_unfinished(tasks))
        outcomes = []
        engine_of_all = _engine(engine, jobs, ctx.params["threads"])
        for outcome in engine_of_all.run(tasks, lambda: progress.stop_requested):
            outcomes.append(outcome)
            _tell(outcome, len(outcomes), len(tasks))
    _report(outcomes, quiet=quiet, json=json)
    if progress.stop_requested:
        raise Interrupted("videos that were finished are kept; --resume goes on with the others")
    failed = [outcome.task.name for outcome in outcomes if outcome.exit_code]
    if failed:
        raise MasaError(
            f"{len(failed)} of {len(tasks)} videos could not be tracked: {', '.join(failed)}",
            fix="see the messages above; --resume skips what is finished",
        )


def _engine(name: EngineName, jobs: int, threads: int | None) -> Engine:
    if name == "ray":
        from masa_cli.jobs.batch import RayEngine

        return RayEngine(jobs, cores=threads or 1)
    from masa_cli.jobs.batch import LocalEngine

    return LocalEngine(max(1, jobs))


def _tasks(
    sources: Sequence[str], options: Sequence[str], dets: Path | None, output: Path
) -> list[Task]:
    tasks: list[Task] = []
    for source in sources:
        if source == "-" or source.isdecimal() or "://" in source:
            raise UsageError(
                f"{source} is no file, and can only be tracked alone", fix="run masa for it alone"
            )
        name = _name(source)
        folder = output / name
        own = ["--dets", str(_detections(dets, name, len(sources)))] if dets else []
        # "--" ends the options: a file may be called "-v.mp4".
        command = ("track", *options, *own, "-o", str(folder), "--json", "--", source)
        tasks.append(Task(name, command, folder))
    names = [task.name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(
                f"{names.count(name)} of the videos are called {name}, and would write into one "
                "folder",
                fix="track them in separate runs with -o, or rename them",
            )
    return tasks


def _name(source: str) -> str:
    path = Path(source).absolute()
    if path.is_dir():
        return path.parent.name if path.name == "img1" else path.name
    return path.stem


def _detections(dets: Path, name: str, num_sources: int) -> Path:
    """The file of one video's detections, out of a folder or by a pattern with {name}."""
    if "{name}" in str(dets):
        return Path(str(dets).replace("{name}", name))
    if not dets.is_dir():
        raise UsageError(
            f"{dets} cannot hold the detections of {num_sources} videos",
            fix="give --dets a folder with a file for each video, or a pattern: dets/{name}.txt",
        )
    names = [each.format(name=name) for each in _DETECTIONS]
    files = [dets / each for each in names if (dets / each).is_file()]
    if len(files) != 1:
        what = "several files" if files else "no file"
        raise SourceError(
            f"{dets} has {what} of detections for {name}",
            fix=f"it should have one of: {', '.join(names)}",
        )
    return files[0]


def _options(ctx: typer.Context) -> list[str]:
    """What the user gave, less what concerns all videos together, as arguments again."""
    arguments: list[str] = []
    for parameter in ctx.command.params:
        name = str(parameter.name)
        is_given = getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
        if name not in _OWN and is_given:
            arguments += _as_arguments(parameter, ctx.params[name])
    return arguments


def _as_arguments(parameter: Any, value: Any) -> list[str]:  # noqa: ANN401 - Click's own
    if isinstance(value, bool):
        flags = parameter.opts if value else parameter.secondary_opts
        return [max(flags, key=len)] if flags else []
    values = value if isinstance(value, list | tuple) else [value]
    # As one word: a value may begin with a dash.
    return [f"{max(parameter.opts, key=len)}={each}" for each in values]


def _unfinished(tasks: Sequence[Task]) -> Iterator[Task]:
    """Tasks whose results are not all there."""
    for task in tasks:
        has_results = any((task.folder / each.format(name=task.name)).exists() for each in _RESULTS)
        if has_results and not task.is_begun:
            logger.info("%s is finished already", task.name)
        else:
            yield task


def _tell(outcome: Outcome, done: int, total: int) -> None:
    """One line for each video, and what went wrong."""
    name = outcome.task.name
    for line in outcome.messages.splitlines():
        if line.startswith(("warning:", "error:", "fix:", "interrupted:")):
            logger.warning("%s: %s", name, line)
    again = f", after {outcome.attempts} attempts" if outcome.attempts > 1 else ""
    state = "done" if not outcome.exit_code else f"failed ({outcome.exit_code})"
    logger.info("%d of %d: %s %s%s", done, total, name, state, again)


def _report(outcomes: Sequence[Outcome], *, quiet: bool, json: bool) -> None:
    from masa_cli.cli.console import show_json, show_table

    keys = ("frames", "boxes", "tracks", "seconds")
    if json:
        show_json(
            {
                "videos": [
                    {"name": each.task.name, "exit_code": each.exit_code, **each.summary}
                    for each in outcomes
                ]
            }
        )
    elif not quiet and outcomes:
        show_table(
            ("video", *keys, "exit code"),
            [
                (
                    each.task.name,
                    *(str(each.summary.get(key, "")) for key in keys),
                    str(each.exit_code),
                )
                for each in sorted(outcomes, key=lambda each: each.task.name)
            ],
        )
