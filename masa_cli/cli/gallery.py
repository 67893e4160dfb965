"""`masa gallery`: the identities that several videos have in common; and `--gallery` itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from masa_cli.cli.command import IDENTITY, Command, Group, further, option
from masa_cli.tracking import DEFAULT_FALSE_MATCHES

GalleryFile = Annotated[
    Path | None,
    option(
        IDENTITY,
        "--gallery",
        metavar="FILE",
        help="Recognise the identities of this file, which earlier videos filled, and add those of "
        "this one: the same objects get the same ids. It is made where there is none.",
    ),
]
MaxFalseMatches = Annotated[
    float | None,
    further(
        IDENTITY,
        "--max-false-matches",
        metavar="SHARE",
        help="Of objects that are not in the gallery, so many may be taken for one that is. Less "
        "makes fewer errors, and knows fewer again.",
        show_default=f"{DEFAULT_FALSE_MATCHES:g}",
    ),
]
SameTime = Annotated[
    str | None,
    further(
        IDENTITY,
        "--same-time",
        metavar="TIME",
        help="This video was filmed along with others of the gallery that say so, by a camera with "
        "another view, and begins at this time of their clock (0 if all begin together): nothing "
        "is in two of them at once.",
    ),
]

gallery = typer.Typer(
    name="gallery",
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Identities of several videos: list, show, add, merge, rename, remove, export.",
)

File = Annotated[
    Path,
    typer.Argument(
        metavar="GALLERY", help="The file that masa track --gallery made.", show_default=False
    ),
]
Id = Annotated[int, typer.Argument(metavar="ID", help="Of an identity.", show_default=False)]
Ids = Annotated[list[int], typer.Argument(metavar="ID", help="Of identities.", show_default=False)]
NewName = Annotated[str, typer.Argument(help="The name it gets.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print as JSON, for machines.")]
Unsure = Annotated[
    bool, typer.Option("--unsure", help="Only those that may be another one, to be decided.")
]
FinishedRun = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A folder that masa track --save-embeddings wrote, or its embeddings.masa.",
        show_default=False,
    ),
]
RunIds = Annotated[
    str | None,
    typer.Option(
        "--ids", metavar="IDS", help="Only these of the run: 3,7.", show_default="all of the run"
    ),
]
AddedName = Annotated[
    str,
    typer.Option(
        "--name", metavar="NAME", help="What it is called, with a single id.", show_default=False
    ),
]
Target = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", help="Is made, or replaced if it holds an export.", show_default=False
    ),
]


@gallery.command(name="list", cls=Command)
def list_(file: File, unsure: Unsure = False, json: Json = False) -> None:
    """List the identities: what they are, where they were seen, whether they are in doubt."""
    from masa_cli.cli.console import show, show_json, show_table
    from masa_cli.formats.gallery import reading
    from masa_cli.jobs.gallery import summaries

    with reading(file) as opened:
        rows, adapter = summaries(opened), str(opened.adapter)
    if unsure:
        rows = [row for row in rows if row.may_be]
    if json:
        show_json({"adapter": adapter, "identities": [row.record() for row in rows]})
        return
    show(f"{len(rows)} identities, by the adapter {adapter}")
    if rows:
        show_table(
            ("id", "class", "name", "videos", "boxes", "last seen in", "may be"),
            [
                (
                    str(row.identity.id),
                    row.identity.label,
                    row.identity.name or "-",
                    str(len(row.videos)),
                    str(row.num_boxes),
                    row.videos[-1].name if row.videos else "-",
                    ", ".join(str(doubt.other) for doubt in row.may_be) or "-",
                )
                for row in rows
            ],
            num_left=3,
        )


@gallery.command(cls=Command)
def show(file: File, id_: Id, json: Json = False) -> None:
    """Show one identity: in which videos it was seen, and when."""
    from masa_cli.cli.console import show as tell
    from masa_cli.cli.console import show_json, show_table
    from masa_cli.formats.gallery import reading
    from masa_cli.jobs.gallery import summaries

    with reading(file) as opened:
        opened.identity(id_)
        row = next(each for each in summaries(opened) if each.identity.id == id_)
    if json:
        show_json(row.record())
        return
    name = f" ({row.identity.name})" if row.identity.name else ""
    tell(f"{id_}{name}: {row.identity.label}, {row.num_boxes} boxes")
    for doubt in row.may_be:
        tell(
            f"may be {doubt.other}: of objects that are not known, {100 * doubt.rate:.2g} % look "
            f"as much like one; if it is: masa gallery merge {file} {doubt.other} {id_}"
        )
    show_table(
        ("video", "added", "from", "to", "boxes"),
        [
            (
                video.name,
                video.added,
                f"{sighting.spans[0, 0]:.1f} s",
                f"{sighting.spans[-1, 1]:.1f} s",
                str(sighting.num_boxes),
            )
            for video, sighting in zip(row.videos, row.sightings, strict=True)
        ],
        num_left=2,
    )


@gallery.command(cls=Command)
def add(
    file: File, run: FinishedRun, ids: RunIds = None, name: AddedName = "", json: Json = False
) -> None:
    """Add identities of a finished run, as new ones.

    Nothing is recognised: whoever is added is new, even where the gallery has somebody alike.
    masa retrack --gallery recognises, and adds only those that are not known. The gallery is made
    where there is none. Those seen in too few boxes, and those of the run that had been added
    before, are left out, and told.
    """
    from masa_cli.cli.console import messages, show, show_json, show_table
    from masa_cli.errors import UsageError
    from masa_cli.jobs.gallery import add_run
    from masa_cli.settings import parse_ids

    wanted = parse_ids(ids, "--ids")
    if name and len(wanted) != 1:
        raise UsageError("--name is for a single identity", fix="name its id as well: --ids 3")
    with messages(quiet=json):
        added = add_run(file, run, wanted, name)
    rows = added.identities.items()
    if json:
        new = [{"id": each.id, "of_run": id_, "label": each.label} for id_, each in rows]
        known = [{"id": identity, "of_run": id_} for id_, identity in added.known.items()]
        show_json({"added": new, "too_short": list(added.too_short), "already_there": known})
        return
    show(f"{file}: {len(rows)} added, {len(added.too_short) + len(added.known)} left out")
    if rows:
        show_table(
            ("id", "class", "name", "id in the run"),
            [(str(each.id), each.label, each.name or "-", str(id_)) for id_, each in rows],
            num_left=3,
        )
    for id_ in added.too_short:
        show(f"{id_} of the run was left out: it was seen in too few boxes")
    hint = f" (to name it: masa gallery rename {file} ID NAME)" if name else ""
    for id_, identity in added.known.items():
        show(f"{id_} of the run was left out: it is {identity} already{hint}")


@gallery.command(cls=Command)
def merge(file: File, id_: Id, others: Ids) -> None:
    """Make several identities one, which keeps the first id."""
    from masa_cli.cli.console import show
    from masa_cli.formats.gallery import changing

    with changing(file, forgets=True) as opened:
        opened.merge(id_, [other for other in dict.fromkeys(others) if other != id_])
    show(f"{id_} is now also what was {', '.join(map(str, others))}")


@gallery.command(cls=Command)
def rename(file: File, id_: Id, name: NewName) -> None:
    """Give an identity a name."""
    from dataclasses import replace

    from masa_cli.cli.console import show
    from masa_cli.formats.gallery import changing

    with changing(file, forgets=True) as opened:
        opened.put(replace(opened.identity(id_), name=name))
    show(f"{id_} is now called {name}" if name else f"{id_} has no name now")


@gallery.command(cls=Command)
def remove(file: File, ids: Ids) -> None:
    """Remove identities, with their embeddings and pictures: nothing of them stays in the file."""
    from masa_cli.cli.console import show
    from masa_cli.formats.gallery import changing

    wanted = list(dict.fromkeys(ids))
    with changing(file, forgets=True) as opened:
        opened.remove(wanted)
    show(f"{', '.join(map(str, wanted))} removed")


@gallery.command(cls=Command)
def export(file: File, target: Target) -> None:
    """Write all into a folder: identities.json, embeddings.npz, a picture of each."""
    from masa_cli.cli.console import show
    from masa_cli.formats.gallery import reading
    from masa_cli.jobs.gallery import export as write

    with reading(file) as opened:
        number = write(opened, target)
    show(f"{target}: {number} identities")
