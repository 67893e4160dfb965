"""The table of variants, which the command line reads without loading torch."""

import subprocess
import sys

import pytest

from masa_cli.errors import SettingsError
from masa_cli.models.variants import VARIANTS, find_variant


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingsError) as caught:
        find_variant("rew")
    assert caught.value.problem == 'unknown adapter "rew"'
    assert "raw" in caught.value.fix


def test_every_row_names_a_backbone_that_exists():
    from masa_cli.models.backbones import BACKBONES  # noqa: PLC0415 - imports torch

    for name in VARIANTS:
        assert find_variant(name).backbone in BACKBONES


def test_the_table_is_read_without_torch_and_numpy():
    program = (
        "import sys, masa_cli.models.variants; "
        "print({'torch', 'torchvision', 'numpy', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
