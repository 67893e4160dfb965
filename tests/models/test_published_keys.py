"""The names of the published files, every one of them."""

import re

import pytest

from masa_cli.models import published_keys as keys
from masa_cli.models.published_keys import RULES, Rule, patch_merging_order, recognise, translate
from tests.recipe import published_keys

# Names without num_batches_tracked, which are counters.
NUM_TENSORS = {
    "r50": 386,
    "gdino": 1161,
    "detic": 534,
    "sam-b": 419,
    "sam-h": 699,
    "gdino-swint": 900,
    "gdino-swinb": 1068,
    "sam-vit-b": 314,
    "sam-vit-l": 482,
    "sam-vit-h": 594,
}

# What is dropped beside counters: nothing reads it, or it is there twice.
NOT_USED = re.compile(
    r"\.num_batches_tracked$|\.position_ids$|\b(bert|body\.model)\.pooler\.|dn_query_generator"
    r"|^label_enc|\.freq_weight$|^transformer\.decoder\.bbox_embed\."
)


@pytest.mark.parametrize("variant", RULES)
def test_every_published_name_is_taken_or_dropped(variant):
    names = published_keys(variant)
    origins, unknown = translate(variant, names)
    assert unknown == []
    assert len(origins) == NUM_TENSORS[variant]
    dropped = set(names) - {origin.name for origin in origins.values()}
    assert all(NOT_USED.search(name) for name in dropped)


@pytest.mark.parametrize("variant", RULES)
def test_no_name_is_claimed_by_two_rules(variant):
    names = set(published_keys(variant))
    claims = [sum(is_taken(rule, name) for rule in RULES[variant]) for name in names]
    # Counters are dropped before the rule of the module they are in is asked.
    counters = sum(name.endswith((".num_batches_tracked", ".position_ids")) for name in names)
    assert sum(claims) == len(names) + counters


def is_taken(rule, name):
    return re.fullmatch(rule.pattern, name) is not None


def translate_with(rules, *names):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "RULES", {"any": rules})
        return translate("any", names)


@pytest.mark.parametrize("variant", RULES)
def test_a_strange_name_is_unknown(variant):
    names = ["backbone.layer9.conv.weight", "masa_adapter.2.x", "track_head.embed_head", "x"]
    assert translate(variant, names) == ({}, names)


def test_names_of_another_variant_are_unknown():
    unknown = translate("r50", published_keys("sam-b"))[1]
    assert "detector.backbone.pos_embed" in unknown


def test_what_libraries_saved_besides_weights_is_dropped():
    extra = [
        "data_preprocessor.mean",
        "detector.language_model.language_backbone.body.model.embeddings.position_ids",
    ]
    assert translate("gdino", extra) == ({}, [])


def test_two_names_for_one_of_ours_are_an_error():
    with pytest.raises(ValueError, match='"b" and "a" are both "same"'):
        translate_with((Rule("[ab]", "same"),), "a", "b")


def test_two_rules_for_one_name_are_an_error():
    with pytest.raises(ValueError, match='"a" is taken by 2 rules'):
        translate_with((Rule("a", "b"), Rule("a", "c")), "a")


def test_patch_merging_goes_from_channel_row_column_to_column_row_channel():
    # Two channels; the name of an entry is channel, row, column.
    published = ["000", "001", "010", "011", "100", "101", "110", "111"]
    ours = ["000", "100", "010", "110", "001", "101", "011", "111"]
    assert [published[place] for place in patch_merging_order(8)] == ours


def test_the_merging_order_goes_with_what_it_applies_to():
    origins, _ = translate("detic", published_keys("detic"))
    ordered = {ours for ours, origin in origins.items() if origin.order}
    assert ordered == {
        f"backbone.layers.{stage}.downsample.{rest}"
        for stage in range(3)
        for rest in ("norm.weight", "norm.bias", "reduction.weight")
    }


@pytest.mark.parametrize("variant", RULES)
def test_a_published_file_is_recognised_by_its_names_and_shapes(variant):
    assert (
        recognise({name: shape for name, (shape, _) in published_keys(variant).items()}) == variant
    )


def test_other_files_are_not_recognised():
    assert recognise({}) is None
    assert recognise({"backbone.conv1.weight": (32, 3, 3, 3)}) is None
