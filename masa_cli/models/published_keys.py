"""Names in the published checkpoints, and ours for them: rules as data, no torch.

Every name of a published file is taken by one rule or dropped by one; what no rule knows is
unknown, and the file is not what it was taken for. Ours begin with the part of the network they
belong to: "backbone.", "neck.", "fusion.", "head.", "objects.", "detector." and so on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Inside gdino_masa.pth: mmdet's names, without the "detector." they all begin with and without the
# last part of the name.
_MMDET = (
    (r"neck\.convs\.(\d)\.conv", r"input_proj.\1.0"),
    (r"neck\.convs\.(\d)\.gn", r"input_proj.\1.1"),
    (r"neck\.extra_convs\.0\.conv", "input_proj.3.0"),
    (r"neck\.extra_convs\.0\.gn", "input_proj.3.1"),
    (r"bbox_head\.reg_branches\.([0-5])\.0", r"bbox_embed.\1.layers.0"),
    (r"bbox_head\.reg_branches\.([0-5])\.2", r"bbox_embed.\1.layers.1"),
    (r"bbox_head\.reg_branches\.([0-5])\.4", r"bbox_embed.\1.layers.2"),
    (r"bbox_head\.reg_branches\.6\.0", "enc_out_bbox_embed.layers.0"),
    (r"bbox_head\.reg_branches\.6\.2", "enc_out_bbox_embed.layers.1"),
    (r"bbox_head\.reg_branches\.6\.4", "enc_out_bbox_embed.layers.2"),
    (r"(encoder\.fusion_layers\.\d(?:\.layer_norm_[vl]|\.attn\.\w+)?)", r"transformer.\1"),
    (r"(encoder\.layers\.\d\.self_attn\.\w+)", r"transformer.\1"),
    (r"(encoder\.text_layers\.\d\.self_attn)\.attn(\.out_proj)?", r"transformer.\1\2"),
    (r"(encoder\.(?:text_)?layers\.\d)\.norms\.0", r"transformer.\1.norm1"),
    (r"(encoder\.(?:text_)?layers\.\d)\.norms\.1", r"transformer.\1.norm2"),
    (r"((?:en|de)coder\.(?:text_)?layers\.\d)\.ffn\.layers\.0\.0", r"transformer.\1.linear1"),
    (r"((?:en|de)coder\.(?:text_)?layers\.\d)\.ffn\.layers\.1", r"transformer.\1.linear2"),
    (r"(decoder\.layers\.\d\.self_attn)\.attn(\.out_proj)?", r"transformer.\1\2"),
    (r"(decoder\.layers\.\d)\.cross_attn_text\.attn(\.out_proj)?", r"transformer.\1.ca_text\2"),
    (r"(decoder\.layers\.\d\.cross_attn\.\w+)", r"transformer.\1"),
    # Numbered in the order of use there; here the image's is the first and the text's has a name.
    (r"(decoder\.layers\.\d)\.norms\.0", r"transformer.\1.norm2"),
    (r"(decoder\.layers\.\d)\.norms\.1", r"transformer.\1.catext_norm"),
    (r"(decoder\.layers\.\d)\.norms\.2", r"transformer.\1.norm1"),
    (r"(decoder\.layers\.\d)\.norms\.3", r"transformer.\1.norm3"),
    (r"(decoder\.norm|decoder\.ref_point_head\.layers\.\d)", r"transformer.\1"),
    ("query_embedding", "transformer.tgt_embed"),
    ("memory_trans_fc", "transformer.enc_output"),
    ("memory_trans_norm", "transformer.enc_output_norm"),
    ("text_feat_map", "text.feat_map"),
    (
        r"language_model\.language_backbone\.body\.model\.((?:embeddings|encoder)\..+)",
        r"text.bert.\1",
    ),
)

IN_GDINO_MASA: tuple[tuple[str, str | None], ...] = (
    (r"detector\.level_embed", "detector.transformer.level_embed"),
    *(
        (rf"detector\.{theirs}\.(?P<last>\w+)", rf"detector.{ours}.\g<last>")
        for theirs, ours in _MMDET
    ),
    (r"detector\.language_model\.language_backbone\.body\.model\.pooler\..+", None),
    (r"detector\.dn_query_generator\..+", None),  # for training
)

# In groundingdino_swint_ogc.pth and groundingdino_swinb_cogcoor.pth.
IN_GROUNDINGDINO: tuple[tuple[str, str | None], ...] = (
    (r"backbone\.0\.(.+)", r"backbone.\1"),
    (r"((?:input_proj|bbox_embed)\..+)", r"detector.\1"),
    (r"transformer\.(enc_out_bbox_embed\..+)", r"detector.\1"),
    (
        r"(transformer\.(?:level_embed|tgt_embed\..+|enc_output(?:_norm)?\..+"
        r"|encoder\..+|decoder\.(?:layers|norm|ref_point_head)\..+))",
        r"detector.\1",
    ),
    (r"(feat_map\..+|bert\.(?:embeddings|encoder)\..+)", r"detector.text.\1"),
    (r"bert\.pooler\..+", None),
    (r"transformer\.decoder\.bbox_embed\..+", None),  # bbox_embed once more
    (r"label_enc\..+", None),  # for training
)


def patch_merging_order(channels: int) -> list[int]:
    """Where groundingdino-py's patch merging finds its input channels in the published order.

    Four neighbouring cells become one with 4C channels. The published weights count channel, row,
    column, from slow to fast; groundingdino-py counts column, row, channel (spec 3.2).
    """
    quarter = channels // 4
    cells = [row * 2 + column for column in (0, 1) for row in (0, 1)]
    return [channel * 4 + cell for cell in cells for channel in range(quarter)]


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of the published names that `pattern` matches as a whole.

    Attributes:
        pattern: regular expression.
        ours: our name, with the pattern's groups; None: the tensor is dropped.
        order: for the length of the last axis, the index in the file of each of our entries.
    """

    pattern: str
    ours: str | None
    order: Callable[[int], list[int]] | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one of our tensors comes from: its published name, and the order of its last axis."""

    name: str
    order: Callable[[int], list[int]] | None


# Counters of training steps, and what some versions of the libraries saved besides weights.
_DROPPED = (
    Rule(r".+\.num_batches_tracked", None),
    Rule(r"data_preprocessor\..+", None),
    Rule(r".+\.embeddings\.position_ids", None),
)

_ADAPTER = (
    Rule(r"masa_adapter\.0\.(lateral|fpn)_convs\.(\d)\.conv\.(.+)", r"neck.\1.\2.conv.\3"),
    Rule(r"masa_adapter\.0\.(lateral|fpn)_convs\.(\d)\.bn\.(.+)", r"neck.\1.\2.norm.\3"),
    Rule(r"masa_adapter\.0\.fpn1\.([03])\.(.+)", r"neck.four_times.\1.\2"),
    Rule(r"masa_adapter\.0\.fpn1\.1\.ln\.(.+)", r"neck.four_times.1.\1"),
    Rule(r"masa_adapter\.0\.fpn2\.0\.(.+)", r"neck.twice.\1"),
    Rule(
        r"masa_adapter\.1\.dyhead_blocks\.(\d)\.spatial_conv_(offset|mid|low|high)\.(.+)",
        r"fusion.blocks.\1.\2.\3",
    ),
    Rule(
        r"masa_adapter\.1\.dyhead_blocks\.(\d)\.scale_attn_module\.1\.(.+)",
        r"fusion.blocks.\1.attention.scale.\2",
    ),
    Rule(
        r"masa_adapter\.1\.dyhead_blocks\.(\d)\.task_attn_module\.conv1\.conv\.(.+)",
        r"fusion.blocks.\1.attention.squeeze.\2",
    ),
    Rule(
        r"masa_adapter\.1\.dyhead_blocks\.(\d)\.task_attn_module\.conv2\.conv\.(.+)",
        r"fusion.blocks.\1.attention.excite.\2",
    ),
    Rule(r"track_head\.embed_head\.convs\.(\d)\.conv\.(.+)", r"head.convs.\1.conv.\2"),
    Rule(r"track_head\.embed_head\.convs\.(\d)\.gn\.(.+)", r"head.convs.\1.norm.\2"),
    Rule(r"track_head\.embed_head\.fcs\.0\.(.+)", r"head.hidden.\1"),
    Rule(r"track_head\.embed_head\.fc_embed\.(.+)", r"head.embedding.\1"),
    Rule(r"rpn_head\.rpn_conv\.(.+)", r"objects.proposals.conv.\1"),
    Rule(r"rpn_head\.rpn_cls\.(.+)", r"objects.proposals.score.\1"),
    Rule(r"rpn_head\.rpn_reg\.(.+)", r"objects.proposals.deltas.\1"),
    Rule(r"roi_head\.bbox_head\.shared_convs\.(\d)\.conv\.(.+)", r"objects.boxes.convs.\1.conv.\2"),
    Rule(r"roi_head\.bbox_head\.shared_convs\.(\d)\.bn\.(.+)", r"objects.boxes.convs.\1.norm.\2"),
    Rule(r"roi_head\.bbox_head\.shared_fcs\.(\d)\.(.+)", r"objects.boxes.hidden.\1.\2"),
    Rule(r"roi_head\.bbox_head\.fc_cls\.(.+)", r"objects.boxes.score.\1"),
    Rule(r"roi_head\.bbox_head\.fc_reg\.(.+)", r"objects.boxes.deltas.\1"),
)

_RESNET = (Rule(r"backbone\.((conv1|bn1|layer[1-4])\..+)", r"backbone.\1"),)

# The table of the first window: its length tells the windows' size.
_SWIN_MARK = "detector.backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table"
_SWIN_BLOCK = r"detector\.backbone\.stages\.(\d)\.blocks\.(\d+)"
_SWIN = (
    Rule(r"detector\.backbone\.patch_embed\.projection\.(.+)", r"backbone.patch_embed.proj.\1"),
    Rule(r"detector\.backbone\.patch_embed\.norm\.(.+)", r"backbone.patch_embed.norm.\1"),
    Rule(_SWIN_BLOCK + r"\.(norm[12]\..+)", r"backbone.layers.\1.blocks.\2.\3"),
    Rule(_SWIN_BLOCK + r"\.attn\.w_msa\.(.+)", r"backbone.layers.\1.blocks.\2.attn.\3"),
    Rule(_SWIN_BLOCK + r"\.ffn\.layers\.0\.0\.(.+)", r"backbone.layers.\1.blocks.\2.mlp.fc1.\3"),
    Rule(_SWIN_BLOCK + r"\.ffn\.layers\.1\.(.+)", r"backbone.layers.\1.blocks.\2.mlp.fc2.\3"),
    Rule(
        r"detector\.backbone\.stages\.(\d)\.downsample\.((norm|reduction)\..+)",
        r"backbone.layers.\1.downsample.\2",
        patch_merging_order,
    ),
    Rule(r"detector\.backbone\.(norm[123]\..+)", r"backbone.\1"),
)

_SAM = (
    Rule(r"detector\.backbone\.((pos_embed|patch_embed|blocks|neck)(\..+)?)", r"backbone.\1"),
    Rule(r"detector\.((prompt_encoder|mask_decoder)\..+)", r"\1"),
)

# As Segment Anything's authors published it.
_SAM_ALONE = (
    Rule(r"image_encoder\.(.+)", r"backbone.\1"),
    Rule(r"((prompt_encoder|mask_decoder)\..+)", r"\1"),
)

_GROUNDING_DINO = tuple(Rule(*row) for row in IN_GDINO_MASA)
_GROUNDINGDINO = tuple(Rule(*row) for row in IN_GROUNDINGDINO)
_DETIC_BOXES = r"detector\.roi_head\.bbox_head\.([0-2])"
_DETIC_MASKS = r"detector\.roi_head\.mask_head"
_DETIC = (
    Rule(r"detector\.neck\.lateral_convs\.(\d)\.(.+)", r"pyramid.lateral.\1.\2"),
    Rule(r"detector\.neck\.fpn_convs\.([0-2])\.(.+)", r"pyramid.fpn.\1.\2"),
    Rule(r"detector\.neck\.fpn_convs\.3\.conv\.(.+)", r"pyramid.coarser.0.\1"),
    Rule(r"detector\.neck\.fpn_convs\.4\.conv\.(.+)", r"pyramid.coarser.1.\1"),
    Rule(
        r"detector\.rpn_head\.reg_convs\.(\d)\.conv\.(.+)", r"detector.proposals.tower.\1.conv.\2"
    ),
    Rule(r"detector\.rpn_head\.reg_convs\.(\d)\.gn\.(.+)", r"detector.proposals.tower.\1.norm.\2"),
    Rule(r"detector\.rpn_head\.conv_cls\.(.+)", r"detector.proposals.heat.\1"),
    Rule(r"detector\.rpn_head\.conv_reg\.(.+)", r"detector.proposals.distances.\1"),
    Rule(r"detector\.rpn_head\.scales\.(\d)\.scale", r"detector.proposals.scales.\1"),
    Rule(_DETIC_BOXES + r"\.freq_weight", None),  # how often classes are, for the loss
    Rule(_DETIC_BOXES + r"\.shared_fcs\.(\d)\.(.+)", r"detector.stages.\1.hidden.\2.\3"),
    Rule(_DETIC_BOXES + r"\.fc_cls\.linear\.(.+)", r"detector.stages.\1.word.\2"),
    Rule(_DETIC_BOXES + r"\.fc_cls\.zs_weight", r"detector.stages.\1.classes"),
    Rule(_DETIC_BOXES + r"\.fc_reg\.0\.(.+)", r"detector.stages.\1.shift.\2"),
    Rule(_DETIC_BOXES + r"\.fc_reg\.2\.(.+)", r"detector.stages.\1.deltas.\2"),
    Rule(_DETIC_MASKS + r"\.convs\.(\d)\.conv\.(.+)", r"masks.convs.\1.conv.\2"),
    Rule(_DETIC_MASKS + r"\.upsample\.(.+)", r"masks.enlarge.\1"),
    Rule(_DETIC_MASKS + r"\.conv_logits\.(.+)", r"masks.logits.\1"),
)

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "r50": (*_DROPPED, *_RESNET, *_ADAPTER),
        "gdino": (*_DROPPED, *_SWIN, *_GROUNDING_DINO, *_ADAPTER),
        "detic": (*_DROPPED, *_SWIN, *_DETIC, *_ADAPTER),
        "sam-b": (*_DROPPED, *_SAM, *_ADAPTER),
        "sam-h": (*_DROPPED, *_SAM, *_ADAPTER),
        # Detectors without an adapter.
        "gdino-swint": (*_DROPPED, *_GROUNDINGDINO),
        "gdino-swinb": (*_DROPPED, *_GROUNDINGDINO),
        # Segmenters without an adapter.
        "sam-vit-b": _SAM_ALONE,
        "sam-vit-l": _SAM_ALONE,
        "sam-vit-h": _SAM_ALONE,
    }
)

# The option that takes each of them.
OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("r50", "gdino", "detic", "sam-b", "sam-h"), "--adapter"),
        **dict.fromkeys(("gdino-swint", "gdino-swinb"), "--detector"),
        **dict.fromkeys(("sam-vit-b", "sam-vit-l", "sam-vit-h"), "--segmenter"),
    }
)


def translate(variant: str, names: Iterable[str]) -> tuple[dict[str, Origin], list[str]]:
    """Our names for the names in a published file of that variant.

    Returns:
        For each of our names the origin, and the names that no rule knows.

    Raises:
        ValueError: two published names, or two rules for one, claim one of ours.
    """
    origins: dict[str, Origin] = {}
    unknown = []
    for name in names:
        fitting = [
            (rule, match) for rule in RULES[variant] if (match := re.fullmatch(rule.pattern, name))
        ]
        if not fitting:
            unknown.append(name)
            continue
        rule, match = fitting[0]
        if rule.ours is None:
            continue
        if len(fitting) > 1:
            raise ValueError(f'"{name}" is taken by {len(fitting)} rules of {variant}')
        ours = match.expand(rule.ours)
        if ours in origins:
            raise ValueError(f'"{name}" and "{origins[ours].name}" are both "{ours}" in {variant}')
        origins[ours] = Origin(name, rule.order)
    return origins, unknown


# What tells the published files apart: a name in each, and the shape of its tensor.
_MARKS: Mapping[str, tuple[str, tuple[int, ...]]] = MappingProxyType(
    {
        "r50": ("backbone.conv1.weight", (64, 3, 7, 7)),
        "gdino": (_SWIN_MARK, (23 * 23, 4)),
        "detic": (_SWIN_MARK, (13 * 13, 4)),
        "sam-b": ("detector.backbone.pos_embed", (1, 64, 64, 768)),
        "sam-h": ("detector.backbone.pos_embed", (1, 64, 64, 1280)),
        "gdino-swint": ("backbone.0.patch_embed.proj.weight", (96, 3, 4, 4)),
        "gdino-swinb": ("backbone.0.patch_embed.proj.weight", (128, 3, 4, 4)),
        "sam-vit-b": ("image_encoder.pos_embed", (1, 64, 64, 768)),
        "sam-vit-l": ("image_encoder.pos_embed", (1, 64, 64, 1024)),
        "sam-vit-h": ("image_encoder.pos_embed", (1, 64, 64, 1280)),
    }
)


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The variant whose published file has tensors of these names and shapes; None: no variant."""
    fitting = (variant for variant, (name, shape) in _MARKS.items() if shapes.get(name) == shape)
    return next(fitting, None)
