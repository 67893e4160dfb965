"""Bring files of weights onto this machine: from where they are published, or from a file here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from masa_cli.errors import WeightsError
from masa_cli.weights.download import (
    WAITS,
    Cut,
    OnProgress,
    check_space,
    download,
    make_folder,
    unwritable,
)
from masa_cli.weights.manifest import (
    WeightsFile,
    by_hand,
    chosen_folder,
    find_row,
    folders,
    load_manifest,
    look_for,
    look_for_model,
    sha256_of,
    verify,
)


def fetch(
    name: str,
    folder: Path | None = None,
    *,
    on_progress: OnProgress,
    waits: Sequence[float] = WAITS,
) -> Path:
    """Give back the file of these weights, downloading it unless it is here.

    Files of a hub go into the hub's cache, others into the user's cache, all into the folder the
    user names, if one is. A file has its final name only once it is verified (in the hub's cache,
    whose client gives the name, a wrong file is deleted at once).

    Args:
        name: as in the manifest.
        folder: the user's --weights-dir; without it, that of MASA_WEIGHTS.
        on_progress: is told how far a download is, except the hub's, which shows a bar of its own.
        waits: seconds before each new try after a cut connection.

    Raises:
        SettingsError: there are no such weights.
        WeightsError: they cannot be had; says how to go on.
    """
    row, chosen = find_row(name), chosen_folder(folder)
    found = look_for(row, folder)
    if found and chosen in (None, found.parent):
        return found
    if found and chosen:
        return adopt(found, row, chosen)
    try:
        if row.hub:
            from masa_cli.weights.hub import download_from_hub

            return download_from_hub(row, chosen, verify=verify, waits=waits)
        path = folders(folder)[0] / row.file
        download(
            row.url or "",
            path,
            verify=lambda part: verify(part, row),
            on_progress=on_progress,
            waits=waits,
        )
    except Cut as cut:
        raise WeightsError(
            f'the weights "{name}" ({row.file}, {row.size}) could not be fetched: {cut}',
            fix=f"try again, which goes on with what has arrived; {by_hand(row, folder)}",
        ) from cut
    return path


MODEL = "hf:"  # before the name of a whole model of the hub


def fetch_model(name: str, folder: Path | None = None) -> Path:
    """The folder of a model of the hub, "hf:owner/name", downloaded unless it is here.

    Raises:
        WeightsError: it cannot be had; says how to go on.
    """
    model, chosen = name.removeprefix(MODEL), chosen_folder(folder)
    found = look_for_model(model, folder)
    if found and not is_partial(found):
        return found
    from masa_cli.weights.hub import download_model

    return download_model(model, chosen)


def is_partial(model: Path) -> bool:
    """Whether a folder has the configuration of a model, but no weights yet."""
    return not any(model.glob("*.safetensors"))


def adopt(
    source: Path, row: WeightsFile, folder: Path | None = None, *, link: bool = False
) -> Path:
    """Copy or link a file that is here already to where it is looked for; verified before.

    Args:
        source: the file, under whatever name.
        row: what it is.
        folder: where to; without it as `fetch`.
        link: make a symbolic link instead of a copy.

    Raises:
        WeightsError: it is another file, or damaged, or there is no room.
    """
    target = folders(folder)[0] / row.file
    verify(source, row)
    if target.exists() and target.samefile(source):
        return target
    make_folder(target.parent)
    part = target.with_name(target.name + ".copy")
    part.unlink(missing_ok=True)
    try:
        if link:
            part.symlink_to(source.resolve())
        else:
            check_space(target.parent, source.stat().st_size)
            shutil.copyfile(source, part)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable(target, error) from None
    return target


def recognise(path: Path) -> WeightsFile:
    """The row a file belongs to: by its name, else by its content.

    Raises:
        WeightsError: there is no such file, or it is none of the manifest.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file", fix="give the path of a file")
    rows = load_manifest().values()
    if same_name := [row for row in rows if path.name == row.file]:
        return same_name[0]
    size = path.stat().st_size
    candidates = [row for row in rows if row.sha256 and row.bytes in (None, size)]
    digest = sha256_of(path) if candidates else ""
    for row in candidates:
        if digest.startswith(row.sha256 or ""):
            return row
    raise WeightsError(
        f"{path} is none of the published files by its name or content",
        fix="if it is one nevertheless, say which: --as NAME (masa weights list)",
    )
