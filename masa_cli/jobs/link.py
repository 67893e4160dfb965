"""`masa link`: one identity for one object over many runs, from the embeddings that they kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from masa_cli.errors import SettingsError, SourceError, UsageError
from masa_cli.formats.embeddings import EmbeddingsReader
from masa_cli.formats.files import PartFile, make_folder, refuse_existing, refuse_inputs
from masa_cli.formats.gallery_records import AdapterKey
from masa_cli.formats.jsonl import TracksReader, TracksWriter
from masa_cli.formats.mot import MotWriter
from masa_cli.jobs.recognise import renamed
from masa_cli.jobs.templates import RunTemplates, TrackTemplate, collect_templates
from masa_cli.jobs.with_gallery import adapter_in
from masa_cli.pipeline import Sink, without_images
from masa_cli.structures import FloatArray
from masa_cli.tracking.identities import link
from masa_cli.tracking.recognition import (
    Company,
    Pairs,
    RecognitionSettings,
    Rows,
    Whitening,
    block_pairs,
    pairs_above,
    pairs_of,
)

TRACKS, EMBEDDINGS, REPORT = "tracks.jsonl", "embeddings.masa", "identities.json"
Compare: TypeAlias = Callable[[Rows, float], Iterable[Pairs]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """The results of one run, which are there.

    Attributes:
        folder: that holds them.
        name: of the folder, under which the results of linking lie.
        adapter: that made its embeddings.
        start: seconds on the clock that all runs have in common; None where nothing is known.
    """

    folder: Path
    name: str
    adapter: AdapterKey
    start: float | None = None


def expanded(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs; of one that holds such, as masa track leaves it, those inside."""
    found: list[Path] = []
    for folder in folders:
        inside = sorted(path.parent for path in folder.glob(f"*/{EMBEDDINGS}"))
        found += inside if inside and not (folder / EMBEDDINGS).exists() else [folder]
    return list(dict.fromkeys(found))


def find_runs(folders: Sequence[Path], starts: Sequence[float] | None = None) -> list[Run]:
    """The runs of these folders.

    Args:
        folders: each with tracks.jsonl and embeddings.masa.
        starts: when their videos begin on a common clock, seconds; one is of all.

    Raises:
        SourceError: a folder has not both files, or these cannot be read.
        SettingsError: embeddings are those of different adapters, or two folders have one name.
        UsageError: there are more or fewer starts than folders.
    """
    if starts is not None and len(starts) not in (1, len(folders)):
        raise UsageError(
            f"--same-time tells {len(starts)} times for {len(folders)} runs",
            fix="give one for each, in their order, or 0 if all begin together",
        )
    runs: list[Run] = []
    for number, folder in enumerate(folders):
        for name in (TRACKS, EMBEDDINGS):
            if not (folder / name).is_file():
                raise SourceError(
                    f"{folder} has no {name}",
                    fix="give folders that masa track --save-embeddings wrote",
                )
        path = folder / EMBEDDINGS
        start = None if starts is None else starts[number if len(starts) > 1 else 0]
        run = Run(
            folder, folder.resolve().name, adapter_in(EmbeddingsReader(path).kept, path), start
        )
        for other in runs:
            if other.adapter != run.adapter:
                raise SettingsError(
                    f"{other.folder} has embeddings of the adapter {other.adapter}, {folder} those "
                    f"of {run.adapter}, which cannot be compared",
                    fix="track all videos with one --adapter",
                )
            if other.name == run.name:
                raise SettingsError(
                    f"{other.folder} and {folder} would both be written to {run.name}",
                    fix="rename one of them, or name it once",
                )
        runs.append(run)
    return runs


def templates_of(run: Run) -> RunTemplates:
    """What the tracks of a run look like; SourceError where what it kept is damaged."""
    reader = TracksReader(run.folder / TRACKS)
    kept = EmbeddingsReader(run.folder / EMBEDDINGS)
    return collect_templates(reader, kept, lambda: reader.classes)


def link_runs(
    runs: Sequence[Run],
    output: Path,
    settings: RecognitionSettings,
    *,
    compare: Compare = pairs_above,
    overwrite: bool = False,
    on_run: Callable[[int], None] = lambda done: None,
) -> LinkSummary:
    """Write the tracks of all runs under common identities: `<output>/<run>/tracks.jsonl`, .txt.

    Args:
        runs: as `find_runs` gives them.
        output: folder of the results.
        settings: when two tracks are one object.
        compare: see `tracking.identities.link`.
        overwrite: whether earlier results are replaced.
        on_run: is told how many runs were read.

    Raises:
        SourceError: what a run kept is damaged.
        OutputError: results exist, or cannot be written.
    """
    report = output / REPORT
    targets = [path for run in runs for path in _targets(run, output)]
    refuse_inputs([*targets, report], [run.folder / TRACKS for run in runs])
    if not overwrite:
        refuse_existing([*targets, report])
    make_folder(output)
    tracks: list[Sequence[TrackTemplate]] = []
    whitening = Whitening()
    for done, run in enumerate(runs, start=1):
        templates = templates_of(run)
        tracks.append(templates.tracks)
        whitening.learn_scatter(templates.scatter, templates.num_pairs)
        on_run(done)
    projection = whitening.projection()
    objects, doubts = _identified(runs, tracks, projection, settings, compare)
    ids: list[dict[int, int]] = [{} for _ in runs]
    for number, members in enumerate(objects, start=1):
        for index, track in members:
            ids[index][track.id] = number
    for run, own in zip(runs, ids, strict=True):
        _write(run, output, own)
    summary = LinkSummary.of(runs, objects, doubts)
    _write_report(report, runs, objects, doubts, settings)
    return summary


_Track: TypeAlias = tuple[int, TrackTemplate]  # with the index of its run


@dataclass(frozen=True, slots=True)
class LinkSummary:
    """What came of linking.

    Attributes:
        num_runs: that were read.
        num_tracks: that they have.
        num_identities: that these are.
        num_shared: identities that were seen in several runs.
        num_unsure: pairs of identities that may be one.
    """

    num_runs: int
    num_tracks: int
    num_identities: int
    num_shared: int
    num_unsure: int

    @staticmethod
    def of(
        runs: Sequence[Run],
        objects: Sequence[Sequence[_Track]],
        doubts: Sequence[tuple[int, int, float]],
    ) -> LinkSummary:
        """Of the identities, each a list of its tracks."""
        return LinkSummary(
            len(runs),
            sum(map(len, objects)),
            len(objects),
            sum(len({run for run, _ in tracks}) > 1 for tracks in objects),
            len(doubts),
        )


def _identified(
    runs: Sequence[Run],
    templates: Sequence[Sequence[TrackTemplate]],
    projection: FloatArray,
    settings: RecognitionSettings,
    compare: Compare,
) -> tuple[list[list[_Track]], list[tuple[int, int, float]]]:
    """Tracks of each identity, in the order in which these appear, and pairs that may be one."""
    every = [(index, track) for index, run in enumerate(templates) for track in run]
    usable = [
        (index, track)
        for index, track in every
        if track.template is not None and track.num_boxes >= settings.min_boxes
    ]
    labels = list(dict.fromkeys(track.label for _, track in usable))
    classes = [
        _companies(runs, [each for each in usable if each[1].label == label]) for label in labels
    ]
    found = link(
        [companies for companies, _ in classes],
        projection,
        settings,
        lambda _, rows, min_score: compare(rows, min_score),
    )
    objects: list[list[_Track]] = []
    doubts: list[tuple[int, int, float]] = []
    for (_, order), linked in zip(classes, found, strict=True):
        first = len(objects)
        objects += [[order[row] for row in members] for members in linked.groups]
        doubts += [(first + one, first + other, rate) for one, other, rate in linked.doubts]
    known = {(index, track.id) for tracks in objects for index, track in tracks}
    objects += [[each] for each in every if (each[0], each[1].id) not in known]
    ranks = sorted(range(len(objects)), key=lambda number: _appearance(objects[number]))
    number_of = {number: rank for rank, number in enumerate(ranks)}
    named = [(number_of[one], number_of[other], rate) for one, other, rate in doubts]
    return [sorted(objects[number], key=_moment) for number in ranks], named


def _companies(runs: Sequence[Run], tracks: Sequence[_Track]) -> tuple[list[Company], list[_Track]]:
    """Of one class: by run and shot; and the tracks in their order."""
    companies, order = [], []
    for index, run in enumerate(runs):
        own = [each for each in tracks if each[0] == index]
        for shot in sorted({track.shot for _, track in own}):
            here = [each for each in own if each[1].shot == shot]
            parts = [track.template for _, track in here if track.template is not None]
            clock = -1 if run.start is not None else index
            companies.append(Company(parts, clock, run.start or 0.0))
            order += here
    return companies, order


def _moment(each: _Track) -> tuple[int, float, int]:
    index, track = each
    return index, float(track.spans[0, 0]), track.id


def _appearance(tracks: Sequence[_Track]) -> tuple[int, float, int]:
    return min(map(_moment, tracks))


def _targets(run: Run, output: Path) -> tuple[Path, Path]:
    folder = output / run.name
    stem = EmbeddingsReader(run.folder / EMBEDDINGS).info.name
    return folder / TRACKS, folder / f"{stem}.txt"


def _write(run: Run, output: Path, ids: dict[int, int]) -> None:
    """The tracks of a run under their identities."""
    reader = TracksReader(run.folder / TRACKS)
    for _ in reader:  # so that all names of classes are known before the first line is written
        pass
    tracks, mot = _targets(run, output)
    make_folder(tracks.parent)
    with ExitStack() as files:
        sinks: list[Sink] = [
            files.enter_context(TracksWriter(tracks, reader.classes)),
            files.enter_context(MotWriter(mot)),
        ]
        for frame, own in without_images(renamed(reader, ids)):
            for sink in sinks:
                sink.write(frame, own)


def _write_report(
    path: Path,
    runs: Sequence[Run],
    objects: Sequence[Sequence[_Track]],
    doubts: Sequence[tuple[int, int, float]],
    settings: RecognitionSettings,
) -> None:
    may_be: dict[int, list[dict[str, object]]] = {}
    for one, other, rate in doubts:
        may_be.setdefault(other, []).append({"id": one + 1, "false_matches": round(rate, 6)})
    content = {
        "adapter": runs[0].adapter.name,
        "max_false_matches": settings.max_false_matches,
        "identities": [
            {
                "id": number + 1,
                "label": tracks[0][1].label,
                "seen": [
                    {
                        "run": runs[index].name,
                        "track": track.id,
                        "boxes": track.num_boxes,
                        "seconds": track.spans.round(3).tolist(),
                    }
                    for index, track in tracks
                ],
                "may_be": may_be.get(number, []),
            }
            for number, tracks in enumerate(objects)
        ],
    }
    with PartFile(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode(errors="replace"))


def compare_on_ray(rows: Rows, min_score: float) -> Iterator[Pairs]:
    """The pairs of `pairs_above`, block by block on the Ray cluster of RAY_ADDRESS.

    Raises:
        SettingsError: Ray is not installed.
    """
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError:
        raise SettingsError(
            "Ray is not installed", fix="pip install 'masa[ray]', or use --engine local"
        ) from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    shared = ray.put(rows)
    task = ray.remote(num_cpus=1)(pairs_of)
    for handle in [task.remote(shared, *each, min_score) for each in block_pairs(len(rows))]:
        yield ray.get(handle)
