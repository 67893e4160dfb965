"""Every variant of the table can be trained."""

import numpy as np
import pytest
import torch
from torch import nn

from masa_cli.errors import SettingsError, WeightsError
from masa_cli.models.network import build_parts
from masa_cli.models.variants import VARIANTS
from masa_cli.training.batches import Batch
from masa_cli.training.initial import begin, first_weights
from masa_cli.training.loop import build_optimiser
from masa_cli.training.pairs import PairMaker
from masa_cli.training.recipes import RECIPES, find_recipe
from masa_cli.training.trainee import Trainee
from masa_cli.training.views import ViewSettings
from tests.training.networks import lite, objectives_of

STRIDES = {"sam-b": (16,) * 4, "sam-h": (16,) * 4, "r50": (4, 8, 16, 32)}


class Patches(nn.Module):
    """In place of a backbone of hundreds of millions of weights: the same maps of fewer."""

    def __init__(self, variant, strides):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(3, channels, stride, stride)
            for channels, stride in zip(variant.channels, strides, strict=True)
        )

    def forward(self, x):
        return [conv(x) for conv in self.convs]


@pytest.fixture(scope="module")
def batch(scenes):
    views = ViewSettings(size=64, min_resize=0.8, max_resize=1.2, mix_chance=0)
    return Batch.of([PairMaker(scenes, views, 0).make(number) for number in range(2)])


def trainee_of(name):
    variant = VARIANTS[name]
    torch.manual_seed(0)
    parts = {"backbone": Patches(variant, STRIDES.get(name, variant.strides))}
    rows = objectives_of(name)
    with torch.device("meta"):
        rest = {row.part: row.build(variant, ("object",)) for row, _ in rows}
    for part, module in {**build_parts(variant, "neck", "fusion"), **rest}.items():
        begin(module.to_empty(device="cpu"), part)
        parts[part] = module
    return Trainee(variant, parts, rows).train()


@pytest.mark.parametrize("name", [name for name, row in VARIANTS.items() if row.trained])
def test_a_step_changes_all_that_is_trained_and_nothing_else(name, batch):
    trainee = trainee_of(name)
    before = {n: p.detach().clone() for n, p in trainee.named_parameters()}
    optimiser = torch.optim.SGD([p for p in trainee.parameters() if p.requires_grad], lr=0.1)
    losses = trainee(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert {"anchor score", "box score", "contrast", "cosine"} <= set(losses)
    torch.stack(list(losses.values())).sum().backward()
    optimiser.step()
    for parameter_name, parameter in trainee.named_parameters():
        # All of the stand-in is one block.
        is_trained = VARIANTS[name].unfrozen and not VARIANTS[name].frozen_blocks
        is_frozen = parameter_name.startswith("parts.backbone.") and not is_trained
        assert (parameter.grad is None) == is_frozen, parameter_name
        if is_frozen:
            assert torch.equal(parameter, before[parameter_name])
    assert VARIANTS["r50"].unfrozen
    assert not VARIANTS["gdino"].unfrozen
    learned = trainee.learned()
    assert any(n.startswith("parts.backbone.") for n in learned) == VARIANTS[name].unfrozen


def test_the_first_blocks_of_an_unfrozen_backbone_may_stay():
    blocks = list(lite().parts["backbone"].children())
    count = VARIANTS["lite"].frozen_blocks
    assert 0 < count < len(blocks)
    assert not any(p.requires_grad for block in blocks[:count] for p in block.parameters())
    assert all(p.requires_grad for block in blocks[count:] for p in block.parameters())


def test_a_few_steps_on_one_batch_make_its_losses_smaller(batch):
    trainee = lite()
    optimiser = build_optimiser(trainee, find_recipe("lite").optimiser)
    totals = []
    for _ in range(12):
        losses = trainee(batch)
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert np.mean(totals[-3:]) < 0.8 * totals[0]


def test_losses_of_a_batch_are_the_mean_of_its_pairs(scenes, batch):
    trainee = lite().eval()
    views = ViewSettings(size=64, min_resize=0.8, max_resize=1.2, mix_chance=0)
    alone = [trainee(Batch.of([PairMaker(scenes, views, 0).make(number)])) for number in range(2)]
    together = trainee(batch)
    for name, loss in together.items():
        mean = (alone[0][name] + alone[1][name]) / 2
        assert loss.item() == pytest.approx(mean.item(), rel=1e-3, abs=1e-5), name


def test_the_backbone_evaluates_even_in_training(batch):
    trainee = lite()
    assert not trainee.parts["backbone"].training
    assert trainee.parts["head"].training
    before = {n: b.clone() for n, b in trainee.parts["backbone"].named_buffers()}
    trainee(batch)
    for name, buffer in trainee.parts["backbone"].named_buffers():
        assert torch.equal(buffer, before[name])


def test_first_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    one = lite(seed=4).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    two = lite(seed=4).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = lite(seed=5).state_dict()
    assert not torch.equal(one["parts.head.hidden.weight"], other["parts.head.hidden.weight"])


def test_a_published_variant_begins_with_its_published_backbone(published_file, tmp_path):
    file = published_file("r50", "")
    rows = [row for row, _ in objectives_of("r50")]
    arguments = {"start": None, "weights_dir": tmp_path, "seed": 0}
    with pytest.raises(WeightsError):
        first_weights("r50", rows, ("object",), **arguments)
    (tmp_path / "masa_r50.pth").symlink_to(file)
    fresh = first_weights("r50", rows, ("object",), **arguments)
    tuned = first_weights("r50", rows, ("object",), **{**arguments, "start": file})
    published = fresh["backbone"].state_dict()
    for name, tensor in tuned["backbone"].state_dict().items():
        assert torch.equal(tensor, published[name])
    assert not torch.equal(fresh["head"].hidden.weight, tuned["head"].hidden.weight)
    assert tuned["objects"].boxes.score.weight.abs().max() > 0


def test_what_has_nothing_to_learn_is_refused():
    with pytest.raises(SettingsError, match="no weights to learn"):
        find_recipe("raw")
    with pytest.raises(SettingsError, match='no recipe "lite-detector"'):
        find_recipe("r50", "lite-detector")
    own = {name for name, row in VARIANTS.items() if row.trained}
    assert set(RECIPES) == own | {"lite-detector"}


def test_a_recipe_is_changed_by_name():
    recipe = find_recipe("lite").changed(
        ["matching.contrast.weight=0.5", "run.steps=7", "views.clips=false"]
    )
    assert recipe.objectives["matching"].contrast.weight == 0.5
    assert recipe.run.steps == 7
    assert recipe.record()["views"]["clips"] is False
    for wrong in ("steps=3", "nothing.x=1", "run.stepz=3", "run.steps=0", "matching.contrast=1"):
        with pytest.raises(SettingsError):
            recipe.changed([wrong])


def test_layers_that_let_through_begin_as_the_identity():
    rows = [row for row, _ in objectives_of("lite")]
    arguments = {"start": None, "weights_dir": None, "seed": 0}
    parts = first_weights("lite", rows, ("object",), lets_through=True, **arguments)
    x = torch.rand(1, 96, 6, 8)
    torch.testing.assert_close(parts["fusion"].coarse.blocks[0].mid.conv(x), x)
    torch.testing.assert_close(parts["neck"].fpn[0].conv(x), x)
    cells = torch.rand(3, 96, 7, 7)
    mirrored = parts["head"](cells.flip(3))
    torch.testing.assert_close(mirrored, parts["head"](cells), rtol=1e-3, atol=1e-4)
    assert not torch.allclose(parts["head"](cells.flip(2)), mirrored, rtol=1e-2)
    plain = first_weights("lite", rows, ("object",), **arguments)
    assert not torch.allclose(plain["neck"].fpn[0].conv(x), x, rtol=1e-2)
