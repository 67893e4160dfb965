"""The files of one run: their names, and whether they may be written.

Nothing that exists is replaced unasked, and no input ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from masa_cli import formats
from masa_cli.errors import OutputError
from masa_cli.formats.files import make_folder, refuse_existing, refuse_inputs, refuse_long_names
from masa_cli.formats.gallery_records import GalleryUse
from masa_cli.render.annotator import DrawingSettings


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of one run in one folder, and what they show.

    Attributes:
        folder: holds them all.
        stem: name of the video and the MOT file.
        wants_video: annotated video, `<stem>.mp4`.
        wants_mot: MOTChallenge results, `<stem>.txt`.
        wants_tracks: `tracks.jsonl`.
        wants_embeddings: `embeddings.masa`.
        wants_id_maps: a picture of identities for each frame, in `<stem>.masks`.
        also: names of further formats, written to `<stem>.<ending of the format>`.
        mot_classes: whether column 8 of the MOT file tells the class.
        drawing: what the annotated video shows.
        command: as the user gave it, for `run.json`.
        gallery: whose identities the tracks get; None: they are numbered by themselves.
    """

    folder: Path
    stem: str
    wants_video: bool = True
    wants_mot: bool = True
    wants_tracks: bool = True
    wants_embeddings: bool = False
    wants_id_maps: bool = False
    also: tuple[str, ...] = ()
    mot_classes: bool = False
    drawing: DrawingSettings = field(default_factory=DrawingSettings)
    command: tuple[str, ...] = ()
    gallery: GalleryUse | None = None

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
        return self.folder / formats.file_name(self.stem, name)

    @property
    def id_maps(self) -> Path:
        """The folder of pictures of identities."""
        return self.folder / f"{self.stem}.masks"

    @property
    def identities(self) -> Path:
        """What was decided on each identity, with a gallery."""
        return self.folder / "identities.json"

    @property
    def keeps_embeddings(self) -> bool:
        """Whether observations are kept, at least until the run is over."""
        return self.wants_embeddings or self.gallery is not None

    @property
    def record(self) -> Path:
        """What the run was; beside results of whatever kind."""
        return self.folder / "run.json"

    @property
    def spool(self) -> Path:
        """Tracks as the first pass leaves them."""
        return self.folder / "tracks.jsonl.part"

    @property
    def finished(self) -> Path:
        """Tracks after offline refinement, until they take the place of the spool."""
        return self.folder / "tracks.finished.jsonl"

    @property
    def resume_state(self) -> Path:
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
            (self.identities, self.gallery is not None),
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
        files = [*self.wanted(), self.record]
        refuse_long_names(files)
        refuse_inputs([*files, self.spool], inputs)
        is_interrupted = self.resume_state.exists() or self.spool.exists()
        if is_interrupted and not (overwrite or resume):
            raise OutputError(
                f"{self.folder} holds an interrupted run",
                fix="go on with --resume, or start again with --overwrite",
            )
        if not (overwrite or is_interrupted):
            refuse_existing(files)
        make_folder(self.folder)
        if not resume:
            self.resume_state.unlink(missing_ok=True)  # of a spool that is about to be replaced
