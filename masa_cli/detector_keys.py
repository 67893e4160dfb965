"""Names of Grounding-DINO's weights in the files it is published in, and ours for them, as data.

Ours are groundingdino-py's for each layer (models/grounding_dino.py). A row is a pattern for whole
names and our name with the pattern's groups, or None where the tensor is not used.
"""

from __future__ import annotations

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
    # Numbered in the order of use there; here the picture's is the first and the text's has a name.
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
