"""TrackEval's own readers and preprocessing, as an oracle for ours."""

import trackeval

METRICS = ("HOTA", "CLEAR", "Identity")
DATASETS = {
    "mot": ("MotChallenge2DBox", {"BENCHMARK": "MOT17", "SKIP_SPLIT_FOL": True}),
    "mot15": ("MotChallenge2DBox", {"BENCHMARK": "MOT15", "SKIP_SPLIT_FOL": True}),
    "mot20": ("MotChallenge2DBox", {"BENCHMARK": "MOT20", "SKIP_SPLIT_FOL": True}),
    "mots": ("MOTSChallenge", {"SKIP_SPLIT_FOL": True}),
    "kitti-mots": ("KittiMOTS", {"GT_LOC_FORMAT": "{gt_folder}/{seq}/gt/gt.txt"}),
}


def dataset_of(name, gt, results, lengths):
    """The reader of folders <sequence>/gt/gt.txt and <sequence>.txt, for sequences by length."""
    kind, config = DATASETS[name]
    return getattr(trackeval.datasets, kind)(
        {
            "GT_FOLDER": str(gt),
            "TRACKERS_FOLDER": str(results.parent),
            "TRACKERS_TO_EVAL": [results.name],
            "TRACKER_SUB_FOLDER": "",
            "SEQ_INFO": dict(lengths),
            "PRINT_CONFIG": False,
            "CLASSES_TO_EVAL": ["car", "pedestrian"] if name == "kitti-mots" else ["pedestrian"],
            **config,
        }
    )


def scores_of(name, gt, results, lengths):
    """{class: {sequence or "COMBINED": {field: value}}}, values as TrackEval gives them."""
    dataset = dataset_of(name, gt, results, lengths)
    metrics = [getattr(trackeval.metrics, metric)() for metric in METRICS]
    scores = {}
    for class_ in dataset.class_list:
        rows = scores[class_] = {sequence: {} for sequence in lengths} | {"COMBINED": {}}
        datas = {
            sequence: dataset.get_preprocessed_seq_data(
                dataset.get_raw_seq_data(results.name, sequence), class_
            )
            for sequence in lengths
        }
        for metric in metrics:
            parts = {sequence: metric.eval_sequence(data) for sequence, data in datas.items()}
            for sequence, part in parts.items():
                rows[sequence].update(part)
            rows["COMBINED"].update(metric.combine_sequences(parts))
    return scores
