"""Files of the Hugging Face hub, through its own client.

So HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean here what they mean everywhere, and a file
that another program has fetched is not fetched again.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import requests
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from masa_cli.errors import WeightsError
from masa_cli.weights.download import WAITS, Cut, check_space, cut_by, make_folder, unwritable
from masa_cli.weights.manifest import WeightsFile

Verify = Callable[[Path, WeightsFile], object]


def download_from_hub(
    row: WeightsFile, folder: Path | None, *, verify: Verify, waits: Sequence[float] = WAITS
) -> Path:
    """Fetch a file of the hub and give back where it is.

    The client shows its own bar on a terminal and goes on where a cut connection left it.

    Args:
        row: a file of a hub.
        folder: where it shall lie under its name in the manifest, once `verify` has passed; None
            for the hub's cache, from which it is deleted again if `verify` does not pass.
        verify: raises WeightsError for the wrong file.
        waits: seconds before each new try after a cut.

    Raises:
        WeightsError: from `verify`; or the hub refuses, or the disk is full.
        Cut: there is no connection, or HF_HUB_OFFLINE is set.
    """
    row, etag = _as_on_hub(row)
    cache = Path(constants.HF_HUB_CACHE)
    store = folder / ".incoming" if folder else cache / _folder_in_cache(row)
    arrived = sum(file.stat().st_size for file in store.rglob(f"*{etag}.incomplete"))
    check_space(store, (row.bytes or 0) - arrived)
    make_folder(store)
    path = _download(row, store if folder else None, waits)
    try:
        verify(path, row)
    except WeightsError:
        path.resolve().unlink()
        path.unlink(missing_ok=True)  # the link to it in the cache
        raise
    if folder is None:
        return path
    path.replace(folder / row.file)
    shutil.rmtree(store)
    return folder / row.file


# What transformers needs to build a model of the hub and to make its inputs: no code, no pickles.
_OF_MODELS = ("*.json", "*.safetensors", "*.txt", "*.model")


def download_model(name: str, folder: Path | None, *, waits: Sequence[float] = WAITS) -> Path:
    """Fetch a whole model of the hub, as transformers saves it, and give back its folder.

    Args:
        name: "owner/name" on the hub; a revision may follow: "owner/name@v1".
        folder: where a folder of its last name is made; None for the hub's cache.
        waits: seconds before each new try after a cut.

    Raises:
        WeightsError: there is no such model or revision, it is gated, has no safetensors, or
            cannot be had now.
    """
    repository, _, revision = name.partition("@")
    place = folder / repository.rpartition("/")[2] if folder else None
    try:
        if constants.HF_HUB_OFFLINE:
            raise Cut("HF_HUB_OFFLINE is set")
        # The client would wait for half a minute before it says that nobody answers.
        requests.head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        api = HfApi(endpoint=constants.ENDPOINT)
        about = api.model_info(repository, revision=revision or None, files_metadata=True)
        files = {each.rfilename: each.size or 0 for each in about.siblings or ()}
        if not any(file.endswith(".safetensors") for file in files):
            raise WeightsError(
                f"the model {name} has no weights in safetensors",
                fix="take another model, or a revision that has them: hf:MODEL@REVISION",
            )
        wanted = [file for file in files if any(fnmatch(file, each) for each in _OF_MODELS)]
        check_space(place or Path(constants.HF_HUB_CACHE), sum(files[file] for file in wanted))
        return _snapshot(api, (repository, revision or None), place, waits)
    except Cut as cut:
        raise WeightsError(
            f"the model {name} could not be fetched: {cut}",
            fix="try again, which goes on with what has arrived; or get its folder by other means "
            "and give that: hf:FOLDER",
        ) from cut
    except HFValidationError:
        raise WeightsError(
            f'"{name}" is no name of a model on the hub', fix="write hf:OWNER/NAME"
        ) from None
    except requests.HTTPError as error:
        raise _no_model(name, error) from None
    except requests.RequestException as error:
        reason = cut_by(error, constants.ENDPOINT)
        raise WeightsError(f"the model {name} could not be fetched: {reason}", fix=_AGAIN) from None


_AGAIN = "try again, or get its folder by other means and give that: hf:FOLDER"


def _snapshot(
    api: HfApi, wanted: tuple[str, str | None], place: Path | None, waits: Sequence[float]
) -> Path:
    (repository, revision), left = wanted, list(waits)
    while True:
        try:
            return Path(
                api.snapshot_download(
                    repository, revision=revision, local_dir=place, allow_patterns=list(_OF_MODELS)
                )
            )
        except LocalEntryNotFoundError as error:
            raise cut_by(error, constants.ENDPOINT) from error
        except requests.HTTPError:
            raise
        except (requests.RequestException, RuntimeError) as error:  # the latter from hf-xet
            if not left:
                raise cut_by(error, constants.ENDPOINT) from error
            time.sleep(left.pop(0))


def _no_model(name: str, error: requests.HTTPError) -> WeightsError:
    if isinstance(error, GatedRepoError):
        return WeightsError(
            f"the model {name} is gated: its owners must let you in first",
            fix=f"ask for access at {constants.ENDPOINT}/{name.partition('@')[0]}, then set "
            "HF_TOKEN",
        )
    if isinstance(error, RevisionNotFoundError):
        return WeightsError(
            f"the model {name.partition('@')[0]} has no revision {name.partition('@')[2]}",
            fix="leave out the revision, or give a branch, a tag or a commit that it has",
        )
    if isinstance(error, RepositoryNotFoundError):
        return WeightsError(
            f"there is no model {name} at {constants.ENDPOINT}, or it is private",
            fix="check the name; for a private one, set HF_TOKEN",
        )
    status = error.response.status_code if error.response is not None else "no status"
    return WeightsError(f"{constants.ENDPOINT} answered {status} for {name}", fix=_AGAIN)


def _as_on_hub(row: WeightsFile) -> tuple[WeightsFile, str]:
    """The row with what the hub knows of the file besides, and the version of it there."""
    if constants.HF_HUB_OFFLINE:
        raise Cut("HF_HUB_OFFLINE is set")
    try:
        # The client would wait for half a minute before it says that nobody answers.
        requests.head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        about = get_hf_file_metadata(hf_hub_url(row.hub or "", row.name_on_hub))
    except requests.HTTPError as error:
        raise _refusal(row, error) from None
    except requests.RequestException as error:
        raise cut_by(error, constants.ENDPOINT) from error
    etag = about.etag or ""
    # Large files have their sha256 for a version, small ones something else.
    published = etag if re.fullmatch("[0-9a-f]{64}", etag) else None
    if row.sha256 and published and not published.startswith(row.sha256):
        raise WeightsError(
            f'"{row.name}": {constants.ENDPOINT}/{row.hub} now has another {row.name_on_hub} than '
            f"the one masa knows (sha256 {published[:12]}, expected {row.sha256[:12]})",
            fix="update masa, or get the known file elsewhere and use masa weights import",
        )
    known = replace(row, bytes=row.bytes or about.size, sha256=row.sha256 or published)
    return known, etag


def _download(row: WeightsFile, local_dir: Path | None, waits: Sequence[float]) -> Path:
    left = list(waits)
    while True:
        try:
            return Path(hf_hub_download(row.hub or "", row.name_on_hub, local_dir=local_dir))
        except LocalEntryNotFoundError as error:  # it had answered just before
            raise cut_by(error, constants.ENDPOINT) from error
        except requests.HTTPError as error:
            raise _refusal(row, error) from None
        except (requests.RequestException, RuntimeError) as error:  # the latter from hf-xet
            if not left:
                raise cut_by(error, constants.ENDPOINT) from error
            time.sleep(left.pop(0))
        except OSError as error:
            raise unwritable(local_dir or Path(constants.HF_HUB_CACHE), error) from None


def _folder_in_cache(row: WeightsFile) -> str:
    return repo_folder_name(repo_id=row.hub or "", repo_type="model")


def _refusal(row: WeightsFile, error: requests.HTTPError) -> WeightsError:
    status = error.response.status_code if error.response is not None else "no status"
    return WeightsError(
        f"{constants.ENDPOINT}/{row.hub} answered {status} for {row.name_on_hub}",
        fix="look whether HF_ENDPOINT names a hub or mirror that has it, and whether HF_TOKEN is "
        "valid if one is set",
    )
