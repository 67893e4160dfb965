import json

import numpy as np
import pytest
import torch

from masa_cli.training.matching import (
    ContrastSettings,
    contrastive_loss,
    cosine_loss,
    embedding_losses,
    partners_of,
    same_object,
)
from tests.golden import assert_close, golden

FILE = golden("losses")
CASES = {case["name"]: case["images"] for case in json.loads(str(FILE["meta_json"]))}


def images(case):
    """The recorded tensors of each image of a case."""
    for number in range(CASES[case]):
        prefix = f"{case}/img{number}/"
        names = [name for name in FILE.files if name.startswith(prefix)]
        yield {name.removeprefix(prefix): torch.from_numpy(FILE[name]) for name in names}


def same_in(image):
    num_background = len(image["ref_embeds"]) - len(image["ref_pos_gt"])
    reference = torch.cat([image["ref_pos_gt"], torch.full((num_background,), -1)])
    return same_object(image["key_gt"], reference, image["gt_match"])


@pytest.mark.parametrize("case", CASES)
def test_targets_are_those_of_the_official_code(case):
    for image in images(case):
        same = same_in(image)
        np.testing.assert_array_equal(same, image["targets"])
        np.testing.assert_array_equal(same.any(1), image["weights"])


@pytest.mark.parametrize("case", CASES)
def test_losses_of_each_image_are_those_of_the_official_code(case):
    for image in images(case):
        losses = embedding_losses(
            image["key_embeds"], image["ref_embeds"], same_in(image), ContrastSettings()
        )
        assert losses["contrast"] == pytest.approx(image["loss_track_i"].item(), abs=2e-6)
        assert losses["cosine"] == pytest.approx(image["loss_aux_i"].item(), abs=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_totals_and_gradients_are_those_of_the_official_code(case):
    keys, references, total = [], [], 0
    sums = {"contrast": 0, "cosine": 0}
    for image in images(case):
        keys.append(image["key_embeds"].requires_grad_())
        references.append(image["ref_embeds"].requires_grad_())
        losses = embedding_losses(keys[-1], references[-1], same_in(image), ContrastSettings())
        total = total + sum(losses.values()) / CASES[case]
        sums = {name: sums[name] + losses[name].item() / CASES[case] for name in sums}
    total.backward()
    assert sums["contrast"] == pytest.approx(FILE[f"{case}/loss_track"].item(), abs=2e-6)
    assert sums["cosine"] == pytest.approx(FILE[f"{case}/loss_track_aux"].item(), abs=2e-6)
    for ours, name in ((keys, "grad_key"), (references, "grad_ref")):
        assert_close(torch.cat([x.grad for x in ours]), FILE[f"{case}/{name}"])


def test_the_number_of_partners_changes_nothing():
    logits = torch.tensor([[2.0, 2.0, 0.0, -1.0]])
    one = torch.tensor([[True, False, False, False]])
    both = torch.tensor([[True, True, False, False]])
    alone = contrastive_loss(logits[:, [0, 2, 3]], one[:, [0, 2, 3]])
    assert contrastive_loss(logits, both) == pytest.approx(alone.item())


def test_no_boxes_and_no_partners_cost_nothing():
    none = torch.zeros((2, 3), dtype=torch.bool)
    x = torch.randn(2, 3, requires_grad=True)
    total = contrastive_loss(x, none) + cosine_loss(x, none, margin=0.1, negatives=3)
    total.backward()
    assert total == 0
    assert not x.grad.any()
    assert contrastive_loss(x[:0], none[:0]) == 0


def test_instances_are_partners_by_name():
    partners = partners_of(torch.tensor([5, 0, 7, 9]), torch.tensor([9, 5, 0]))
    assert partners.tolist() == [1, -1, -1, 0]  # 0 is nobody's name
    assert partners_of(torch.tensor([5]), torch.tensor([], dtype=torch.long)).tolist() == [-1]
