"""Where the results of a run go, and the promise that nothing is overwritten unasked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from masa_cli.errors import OutputError

_LONGEST_NAME = 255 - len(".part")  # of a file or folder, bytes; results are begun as .part
LEAST_FREE_BYTES = 50 * 2**20  # less free space than this ends before it begins

# How the names of results in further formats end, where not in <format>.json; yolo is a folder.
_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        "cvat": "cvat.xml",
        "csv": "csv",
        "parquet": "parquet",
        "mots": "mots.txt",
        "yolo": "yolo",
        "yolo-tracks": "yolo-tracks",
    }
)


@dataclass(frozen=True, slots=True)
class Results:
    """The files of one run in one folder.

    Attributes:
        folder: holds them all.
        stem: name of the video and the MOT file.
        wants_video: annotated video, `<stem>.mp4`.
        wants_mot: MOTChallenge results, `<stem>.txt`.
        wants_tracks: `tracks.jsonl`.
        wants_embeddings: `embeddings.masa`.
        wants_id_maps: a picture of identities for each frame, in `<stem>.masks`.
        also: names of further formats; most are written to `<stem>.<name>.json`.
    """

    folder: Path
    stem: str
    wants_video: bool = True
    wants_mot: bool = True
    wants_tracks: bool = True
    wants_embeddings: bool = False
    wants_id_maps: bool = False
    also: tuple[str, ...] = ()

    @property
    def video(self) -> Path:
        """The annotated video."""
        return self.folder / f"{self.stem}.mp4"

    @property
    def mot(self) -> Path:
        """MOTChallenge results."""
        return self.folder / f"{self.stem}.txt"

    @property
    def tracks(self) -> Path:
        """Everything that is known of the tracks; `.part` of it is the spool."""
        return self.folder / "tracks.jsonl"

    @property
    def embeddings(self) -> Path:
        """What the tracker was given, to associate it anew."""
        return self.folder / "embeddings.masa"

    def in_format(self, name: str) -> Path:
        """The file of one of the formats in `also`, or its folder."""
        return self.folder / f"{self.stem}.{_ENDINGS.get(name, f'{name}.json')}"

    @property
    def id_maps(self) -> Path:
        """The folder of pictures of identities."""
        return self.folder / f"{self.stem}.masks"

    @property
    def spool(self) -> Path:
        """Tracks as the first pass leaves them."""
        return self.folder / "tracks.jsonl.part"

    @property
    def finished(self) -> Path:
        """Tracks after a second look or a clean-up, until they take the place of the spool."""
        return self.folder / "tracks.finished.jsonl"

    @property
    def checkpoint(self) -> Path:
        """What an interrupted run needs to go on."""
        return self.folder / "checkpoint.part"

    def wanted(self) -> list[Path]:
        """The files that will be there after a complete run."""
        choices = (
            (self.video, self.wants_video),
            (self.mot, self.wants_mot),
            (self.tracks, self.wants_tracks),
            (self.embeddings, self.wants_embeddings),
            (self.id_maps, self.wants_id_maps),
        )
        own = [path for path, is_wanted in choices if is_wanted]
        return own + [self.in_format(name) for name in self.also]

    def prepare(
        self, *, inputs: Sequence[Path], overwrite: bool = False, resume: bool = False
    ) -> None:
        """Make the folder, or say why results cannot go there.

        Args:
            inputs: files of the user that must not be overwritten, whatever the options.
            overwrite: whether earlier results may be replaced.
            resume: whether an interrupted run may be gone on with.

        Raises:
            OutputError: nothing wanted, results exist, inputs would be lost, no space, no access.
        """
        if not self.wanted():
            raise OutputError(
                "no result is wanted",
                fix="leave out one of the options --no-video, --no-mot, --no-jsonl",
            )
        refuse_long_names(self.wanted())
        refuse_inputs([*self.wanted(), self.spool], inputs)
        is_interrupted = self.checkpoint.exists() or self.spool.exists()
        if is_interrupted and not (overwrite or resume):
            raise OutputError(
                f"{self.folder} holds an interrupted run",
                fix="go on with --resume, or start again with --overwrite",
            )
        if not (overwrite or is_interrupted):
            refuse_existing(self.wanted())
        make_folder(self.folder)
        if not resume:
            self.checkpoint.unlink(missing_ok=True)  # of a spool that is about to be replaced


def refuse_long_names(outputs: Sequence[Path]) -> None:
    """Raise OutputError if the name of a result would be longer than file systems allow."""
    for path in outputs:
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in (*path.parent.parts, path.name)):
            raise OutputError(
                f"{path.name} would have a longer name than the {_LONGEST_NAME} bytes there can be",
                fix="rename the video to something shorter, and choose a shorter -o",
            )


def refuse_inputs(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Raise OutputError if a file that is read would be written, too."""
    read = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in read:
            raise OutputError(
                f"{path} is an input of this run and would be overwritten",
                fix="choose another place with -o",
            )


def refuse_existing(outputs: Sequence[Path]) -> None:
    """Raise OutputError if a result is there already."""
    for path in outputs:
        if path.exists():
            raise OutputError(
                f"{path} exists already",
                fix="replace it with --overwrite, or choose another place with -o",
            )


def make_folder(folder: Path) -> None:
    """Make the folder; raise OutputError if it cannot be written to or hardly has space."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".masa-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written to: {error.strerror}",
            fix="choose another place with -o",
        ) from None
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        raise OutputError(
            f"only {free / 2**20:.0f} MiB are free where {folder} is",
            fix="make room, or choose another place with -o",
        )
