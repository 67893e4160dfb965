"""Fixtures that several folders of tests share."""

import shutil

import pytest
import torch

from tests.recipe import published_state_dict


@pytest.fixture(scope="session", autouse=True)
def converted_graphs(tmp_path_factory):
    """One cache for the graphs of all tests, whatever cache each has beside it."""
    folder = tmp_path_factory.mktemp("graphs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("masa_cli.models.runtime.cache_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="session")
def published_file(tmp_path_factory):
    """Makes the file of a variant as it would be published, with the weights of the recipe.

    Of the names only those that begin with `parts`; each is made once, and deleted in the end.
    """
    folder = tmp_path_factory.mktemp("weights")

    def make(variant, *parts):
        file = folder / f"{variant}{''.join(parts)}.pth"
        if not file.exists():
            torch.save({"meta": {}, "state_dict": published_state_dict(variant, parts)}, file)
        return file

    yield make
    shutil.rmtree(folder)
