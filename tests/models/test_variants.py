"""The table of variants, which the command line reads without loading torch."""

import subprocess
import sys

import pytest

from masa_cli.errors import SettingsError
from masa_cli.models.published_keys import RULES
from masa_cli.models.variants import PREPROCESSINGS, VARIANTS, find_variant


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingsError) as caught:
        find_variant("rew")
    assert caught.value.problem == 'unknown adapter "rew"'
    assert "raw" in caught.value.fix


@pytest.mark.parametrize("name", VARIANTS)
def test_every_row_names_parts_that_exist(name):
    from masa_cli.models.adapter import FUSIONS, HEADS, NECKS
    from masa_cli.models.backbones import BACKBONES

    variant = find_variant(name)
    assert variant.backbone in BACKBONES
    assert (variant.neck in NECKS, variant.fusion in FUSIONS, variant.head in HEADS) == (True,) * 3
    assert set(variant.preprocessing) == set(PREPROCESSINGS)


def test_only_vits_know_one_size():
    sides = {name: variant.fixed_side for name, variant in VARIANTS.items()}
    assert {name for name, side in sides.items() if side == 1024} == {"sam-b", "sam-h"}
    assert {side for side in sides.values()} == {None, 1024}


def test_the_published_variants_are_those_whose_names_are_known():
    published = {name for name, variant in VARIANTS.items() if variant.weights}
    assert published <= set(RULES)
    assert published == {"r50", "gdino", "detic", "sam-b", "sam-h"}


def test_the_table_is_read_without_torch_and_numpy():
    program = (
        "import sys, masa_cli.models.variants; "
        "print({'torch', 'torchvision', 'numpy', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_another_size_is_fitted_and_enlarged_to_where_the_backbone_knows_more_than_one():
    fitted = find_variant("lite").preprocess_as("demo", 320)
    assert (fitted.long_side, fitted.short_side, fitted.enlarges) == (320, 320, True)
    assert find_variant("lite").preprocess_as("demo") == find_variant("lite").preprocessing["demo"]
    with pytest.raises(SettingsError, match="images of 1024 pixels only, not of 320"):
        find_variant("sam-b").preprocess_as("demo", 320)
