"""run.json: what a run was, beside its results, so that they can be made again and explained."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

from masa_cli import __version__
from masa_cli.formats.files import PartFile
from masa_cli.jobs.job import TrackJob
from masa_cli.progress import RunProgress, Summary
from masa_cli.settings import with_changes
from masa_cli.tracking import find_tracker
from masa_cli.weights.manifest import folders, sha256_of

_PACKAGES = ("torch", "torchvision", "openvino", "numpy", "opencv-python", "scipy", "av")
_DIGESTS = "sha256.json"  # in masa's folder of the user's cache, beside that of weights

logger = logging.getLogger(__name__)


def write_record(job: TrackJob, progress: RunProgress, summary: Summary) -> None:
    """Write run.json; it has its name only once it is complete.

    Raises:
        OutputError: it cannot be written.
    """
    content = json.dumps(describe_run(job, progress, summary), indent=2, ensure_ascii=False)
    with PartFile(job.outputs.record) as file:
        # Names of files that are no text: JSON's own escapes, as os.fsencode brings them back.
        file.write(f"{content}\n".encode(errors="backslashreplace"))


def describe_run(job: TrackJob, progress: RunProgress, summary: Summary) -> dict[str, Any]:
    """What run.json says: only texts, numbers, lists and objects of these."""
    given, seen, association = job.input, job.perception, job.association
    detector = seen.detector
    record = {
        "masa": __version__,
        "command": list(job.outputs.command),
        "versions": {"python": platform.python_version(), **_versions()},
        "system": platform.platform(),
        "source": {"path": given.origin, **asdict(given.source.info)},
        "files": [path for path in given.files if path != given.origin],
        "facts": dict(given.facts),
        "detector": {
            "name": detector.row.name,
            "classes": detector.classes,
            "prompt": None if detector.prompt is None else str(detector.prompt),
            "settings": detector.settings,
            "selection": seen.selection,
        },
        "adapter": seen.adapter if association.needs_embeddings else None,
        "segmenter": None if seen.segmenter is None else seen.segmenter.name,
        "networks": {
            name: getattr(seen, name)
            for name in (
                "preprocessing",
                "side",
                "device",
                "precision",
                "runtime",
                "batch_size",
                "fits_boxes",
            )
        },
        "association": {
            "name": association.name,
            "settings": with_changes(
                find_tracker(association.name).settings(), association.tracker_changes
            ),
            "refinement": association.refinement,
        },
        "weights": describe_weights(job.weights),
        "seconds": {name: round(spent, 3) for name, spent in progress.seconds.items()},
        "counts": {
            "frames": summary.num_frames,
            "boxes": summary.num_boxes,
            "tracks": summary.num_tracks,
            "masks": summary.num_masks,
        },
        "written": summary.written,
    }
    plain: dict[str, Any] = _plain(record)
    return plain


def describe_weights(files: Sequence[Path]) -> list[dict[str, object]]:
    """Path, bytes and sha256 of each file; a file that did not change is hashed but once."""
    store = folders()[-1].with_name(_DIGESTS)
    known = _read_known(store)
    fresh: dict[str, str] = {}
    rows: list[dict[str, object]] = []
    for file in files:
        status = file.stat()
        key = f"{file.resolve()} {status.st_size} {status.st_mtime_ns}"
        digest = known.get(key) or fresh.get(key)
        if digest is None:
            digest = fresh[key] = sha256_of(file)
        rows.append({"path": str(file), "bytes": status.st_size, "sha256": digest})
    if fresh:
        _write_known(store, known | fresh)
    return rows


def _versions() -> dict[str, str | None]:
    """Of the packages that results may depend on; None where one is not installed."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a job is made of
    """The same as JSON has it."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):  # JSON has no infinity
        return value if abs(value) < float("inf") else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path | Fraction) else repr(value)


def _read_known(store: Path) -> dict[str, str]:
    """Digests of earlier runs; none where they cannot be read."""
    try:
        known = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write_known(store: Path, known: Mapping[str, str]) -> None:
    """Remember digests; where that is not possible, files are hashed again next time."""
    part = store.with_name(f"{store.name}.{os.getpid()}.part")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(known), encoding="utf-8")
        part.replace(store)
    except OSError as error:
        logger.debug("%s cannot be written: %s", store, error)
