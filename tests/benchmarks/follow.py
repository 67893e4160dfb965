"""Success of following one thing, beside the trackers that OpenCV's package has.

    python tests/benchmarks/follow.py --davis DAVIS --sequences SEQUENCES [--identities 4]

DAVIS has JPEGImages/<clip>/*.jpg and Annotations/<clip>/*.png (one foreground mask each, whose box
is the truth). SEQUENCES has a folder each with video.mp4, gt.txt and boxes (det_yolox.txt or
det_noisy.txt) in MOTChallenge's form; of each the identities that are seen longest are followed,
each alone, from the first frame in which they are.

Success is the area under the curve of the share of frames whose box overlaps the truth by more than
a threshold, thresholds 0 to 1 in steps of 0.05 (as in OTB); a frame without a box counts as 0, the
first one and those without a truth do not count. "objects": candidates are lite's boxes of any
class; "boxes": those of the file.
"""

import argparse
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from masa_cli.boxes import iou
from masa_cli.detectors import given
from masa_cli.detectors.filter import FromFile
from masa_cli.detectors.pointed import PointedDetector
from masa_cli.detectors.request import request_objects
from masa_cli.formats.detections import read_detections
from masa_cli.models import SharedNetworks
from masa_cli.models.adapter import build_adapter, resolve
from masa_cli.sources import open_source
from masa_cli.structures import Observation
from masa_cli.tracking.camera import CameraMotionEstimator
from masa_cli.tracking.correlation import Correlation
from masa_cli.tracking.follow import FollowSettings, FollowTracker
from masa_cli.tracking.targets import Pointing, Target

THRESHOLDS = np.linspace(0, 1, 21)


def success(boxes, truth):
    """Area under the curve, of boxes by frame and the truth by frame, after its first one."""
    frames = sorted(truth)[1:]
    overlaps = np.array(
        [iou(boxes[f][None], truth[f][None])[0, 0] if f in boxes else 0.0 for f in frames]
    )
    return float(np.mean([(overlaps > threshold).mean() for threshold in THRESHOLDS]))


class OpenCV:
    """A tracker of OpenCV's, as it comes."""

    def __init__(self, image, box):
        x1, y1, x2, y2 = np.round(box).astype(int).tolist()
        self._tracker = cv2.TrackerMIL.create()
        self._tracker.init(bgr(image), (x1, y1, x2 - x1, y2 - y1))

    def update(self, frame, _):
        found, (x, y, width, height) = self._tracker.update(bgr(frame.image))
        return np.array([x, y, x + width, y + height], np.float32) if found else None


class CorrelationAlone:
    def __init__(self, image, box):
        self._filter, self._box = Correlation(image, box), box

    def update(self, frame, _):
        self._box = self._filter.find(frame.image, self._box).box
        self._filter.learn(frame.image, self._box)
        return self._box


class Followed:
    """FollowTracker among the candidates of a detector."""

    def __init__(self, frame, box, detector, adapter, settings):
        pointing = Pointing(float(frame.time), tuple(box.tolist()))
        self._tracker = FollowTracker(settings, [Target("it", (pointing,))], len(detector.classes))
        self._detector, self._adapter = PointedDetector(detector, self._tracker), adapter
        self.update(frame, CameraMotionEstimator().update(frame.image, box[None]))

    def update(self, frame, motion):
        (found,) = self._detector.detect([frame])
        (embeddings,) = self._adapter.embed([frame], [found.boxes])
        height, width = frame.image.shape[:2]
        tracks = self._tracker.update(
            Observation(frame.index, float(frame.time), found, embeddings, motion, (width, height))
        ).tracks
        return tracks.boxes[0] if len(tracks) else None


class Once:
    """A detector that is asked for each frame but once."""

    def __init__(self, detector):
        self._detector, self.classes, self._last = detector, detector.classes, (-1, None)

    def detect(self, frames):
        if self._last[0] != frames[0].index:
            self._last = frames[0].index, self._detector.detect(frames)
        return self._last[1]


@dataclass
class Run:
    truth: dict
    boxes: dict = field(default_factory=dict)
    tracker: object = None
    seconds: float = 0.0


def bgr(image):
    return np.ascontiguousarray(image[..., ::-1])


def networks():
    request = request_objects("lite")
    shared = SharedNetworks(device="cpu", runtime="auto")
    detector = request.build(shared)
    name, weights = resolve(request.adapter)
    pyramid = shared.described(name, weights)
    adapter = build_adapter(
        name, weights=weights, pyramid=pyramid, device="cpu", precision="float32"
    )
    return Once(detector), adapter


def evaluate(source, truths, kinds):
    """Success of each kind for each identity; kinds make a tracker of a frame and a box."""
    runs = {(kind, id_): Run(truth) for kind in kinds for id_, truth in truths.items()}
    camera = CameraMotionEstimator()
    for frame in source.frames():
        motion = camera.update(frame.image, np.empty((0, 4), np.float32))
        for (kind, _), run in runs.items():
            if not min(run.truth) <= frame.index <= max(run.truth):
                continue
            start = time.perf_counter()
            if run.tracker is None:
                box = run.truth[frame.index]
                run.tracker = kinds[kind](frame, box)
            else:
                box = run.tracker.update(frame, motion)
            run.seconds += time.perf_counter() - start
            if box is not None:
                run.boxes[frame.index] = box
    return {
        kind: (
            {id_: success(runs[kind, id_].boxes, truths[id_]) for id_ in truths},
            1e3
            * sum(runs[kind, id_].seconds for id_ in truths)
            / sum(max(truth) - min(truth) + 1 for truth in truths.values()),
        )
        for kind in kinds
    }


def truth_of_masks(folder):
    truth = {}
    for index, file in enumerate(sorted(folder.glob("*.png"))):
        rows, columns = np.nonzero(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
        if len(rows):
            edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            truth[index] = np.array(edges, np.float32)
    return {"object": truth}


def truth_of_sequence(file, num_identities):
    rows = np.loadtxt(file, delimiter=",")
    rows = rows[rows[:, 6] != 0]
    truths = {}
    for id_ in np.unique(rows[:, 1]):
        own = rows[rows[:, 1] == id_]
        boxes = np.concatenate([own[:, 2:4], own[:, 2:4] + own[:, 4:6]], axis=1)
        truths[int(id_)] = dict(
            zip((own[:, 0] - 1).astype(int).tolist(), boxes.astype(np.float32), strict=True)
        )
    longest = sorted(truths, key=lambda id_: -len(truths[id_]))[:num_identities]
    return {id_: truths[id_] for id_ in longest}


def clips(arguments):
    """Name, source, truths and file of boxes (or None) of each clip."""
    if arguments.davis:
        for folder in sorted((arguments.davis / "JPEGImages").iterdir()):
            truths = truth_of_masks(arguments.davis / "Annotations" / folder.name)
            yield folder.name, open_source(folder, frame_rate=Fraction(24)), truths, None
    for folder in sorted(arguments.sequences.iterdir()) if arguments.sequences else []:
        files = [folder / f"{name}.txt" for name in ("det_yolox", "det_noisy")]
        dets = next((file for file in files if file.exists()), None)
        if dets:
            truths = truth_of_sequence(folder / "gt.txt", arguments.identities)
            yield folder.name, open_source(folder / "video.mp4"), truths, dets


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--davis", type=Path)
    parser.add_argument("--sequences", type=Path)
    parser.add_argument("--identities", type=int, default=4)
    parser.add_argument("--only", default="", help="names of kinds or clips, by commas")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    settings = FollowSettings()
    objects, adapter = networks()
    sums = {}
    for name, source, truths, dets in clips(arguments):
        kinds = {
            "MIL": lambda frame, box: OpenCV(frame.image, box),
            "correlation": lambda frame, box: CorrelationAlone(frame.image, box),
            "objects": lambda frame, box: Followed(frame, box, objects, adapter, settings),
        }
        if dets:
            boxes = given(FromFile(read_detections(dets))).queries[0]
            kinds["boxes"] = lambda frame, box, boxes=boxes: Followed(
                frame, box, boxes, adapter, settings
            )
        kinds = {kind: make for kind, make in kinds.items() if not only or kind in only}
        for kind, (values, milliseconds) in evaluate(source, truths, kinds).items():
            mean = np.mean(list(values.values()))
            sums.setdefault((kind, bool(dets)), []).append(mean)
            each = " ".join(f"{id_}:{value:.2f}" for id_, value in values.items())
            print(f"{name:16} {kind:12} {mean:.3f} {milliseconds:6.1f} ms  {each}", flush=True)
    for (kind, is_sequence), means in sums.items():
        print(f"{'sequences' if is_sequence else 'DAVIS':16} {kind:12} {np.mean(means):.3f}")


if __name__ == "__main__":
    main()
