"""A run and its gallery: whether they go together, and what is read of the run for it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from masa_cli.errors import SettingsError, UsageError
from masa_cli.formats.embeddings import EmbeddingsReader, Kept
from masa_cli.formats.files import part_of, refuse_inputs
from masa_cli.formats.gallery import check_usable
from masa_cli.formats.gallery_records import AdapterKey, GalleryUse
from masa_cli.jobs.job import TrackJob
from masa_cli.jobs.live_gallery import LiveGallery
from masa_cli.jobs.recognise import Recognised, recognise
from masa_cli.jobs.record import describe_weights
from masa_cli.jobs.templates import collect_templates
from masa_cli.settings import parse_time
from masa_cli.structures import FrameTracks
from masa_cli.tracking.recognition import RecognitionSettings

_NAME, _WEIGHTS = "adapter", "adapter weights"  # of facts that are kept with embeddings


def gallery_use(
    path: Path | None, max_false_matches: float | None, same_time: str | None
) -> GalleryUse | None:
    """What the user's options ask for; None without a gallery.

    Raises:
        UsageError: something is asked of a gallery, but none is named, or a number is none.
    """
    if path is None:
        for option, value in (
            ("--max-false-matches", max_false_matches),
            ("--same-time", same_time),
        ):
            if value is not None:
                raise UsageError(
                    f"{option} is for identities of a gallery, but none is named",
                    fix="add --gallery FILE",
                )
        return None
    start = parse_time(same_time, "--same-time")
    clock = 0 if start is None else 1
    return GalleryUse(path, recognition_settings(max_false_matches), clock, float(start or 0))


def recognition_settings(max_false_matches: float | None) -> RecognitionSettings:
    """With the rate that the user names; UsageError where it is none."""
    usual = RecognitionSettings()
    rate = usual.max_false_matches if max_false_matches is None else max_false_matches
    if not 0 < rate < 1:
        raise UsageError(
            f"--max-false-matches expects a share between 0 and 1, got {rate:g}",
            fix=f"write a number such as {usual.max_false_matches:g}",
        )
    return replace(usual, max_false_matches=rate, max_unsure=max(usual.max_unsure, rate))


def adapter_key(job: TrackJob) -> AdapterKey:
    """What makes, or made, the embeddings of a run.

    Raises:
        MasaError: its weights are not here, or nothing tells the adapter.
    """
    if job.input.recording is not None:
        return adapter_in(job.input.recording.kept, job.input.recording.path)
    name, weights = job.perception.find_adapter()
    digest = str(describe_weights([weights])[0]["sha256"]) if weights else ""
    return AdapterKey(name, digest)


def adapter_facts(job: TrackJob) -> dict[str, str]:
    """The same, as facts to keep with the embeddings."""
    key = adapter_key(job)
    return {_NAME: key.name, _WEIGHTS: key.weights}


def adapter_in(kept: Kept, path: Path) -> AdapterKey:
    """What made the embeddings of a file; SettingsError where it does not tell."""
    if _NAME not in kept.facts:
        raise SettingsError(
            f"{path} does not tell the adapter that made its embeddings: it was written by an "
            "earlier version of masa",
            fix="track the video again with --save-embeddings",
        )
    return AdapterKey(kept.facts[_NAME], kept.facts.get(_WEIGHTS, ""))


def check_gallery(job: TrackJob) -> None:
    """Find out before anything is loaded whether the gallery can be used.

    Raises:
        SourceError: it is damaged, or no gallery.
        SettingsError: it belongs to another adapter.
        OutputError: there is no folder for it, or it is an input of the run.
    """
    use = job.outputs.gallery
    if use is None:
        return
    refuse_inputs([use.path], job.input.files)
    check_usable(use.path, adapter_key(job))


def live_gallery(job: TrackJob) -> LiveGallery | None:
    """What gives the tracks of a live run identities of its gallery; None without one."""
    use, outputs = job.outputs.gallery, job.outputs
    if use is None:
        return None
    token, name = uuid.uuid4().hex, job.input.source.info.name
    return LiveGallery(use, adapter_key(job), token, name, lambda: job.classes, outputs.identities)


def recognise_run(job: TrackJob, frames: Iterable[FrameTracks], token: str) -> Recognised:
    """The identities of the tracks of a run; raises what `recognise` raises."""
    use, outputs = job.outputs.gallery, job.outputs
    if use is None:
        raise ValueError("the job has no gallery")
    observations = job.input.recording or EmbeddingsReader(part_of(outputs.embeddings))
    templates = collect_templates(frames, observations, lambda: job.classes)
    key, name = adapter_key(job), job.input.source.info.name
    return recognise(use, key, token, name, templates, outputs.identities)
