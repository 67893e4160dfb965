"""Detic behind its backbone, said again as plainly as possible: float64, loops, published names.

Slow, and written from the description of the method alone; what the package computes must agree.
"""

import numpy as np

STRIDES = (8, 16, 32, 64, 128)
STEPS = ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1), (0.033, 0.033, 0.067, 0.067))


class PlainDetic:
    """Weights by their published names, without "detector."."""

    def __init__(self, weights):
        self.weights = {
            name.removeprefix("detector."): np.asarray(tensor, np.float64)
            for name, tensor in weights.items()
        }

    def conv(self, name, x, stride=1):
        return conv(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], stride)

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def neck(self, maps):
        """(C, H, W) maps to five levels."""
        lateral = [self.conv(f"neck.lateral_convs.{i}.conv", x) for i, x in enumerate(maps)]
        for i in (1, 0):
            (_, height, width), coarse = lateral[i].shape, lateral[i + 1]
            rows = np.arange(height) * coarse.shape[1] // height
            columns = np.arange(width) * coarse.shape[2] // width
            lateral[i] = lateral[i] + coarse[:, rows][:, :, columns]
        levels = [self.conv(f"neck.fpn_convs.{i}.conv", x) for i, x in enumerate(lateral)]
        levels.append(self.conv("neck.fpn_convs.3.conv", levels[2], stride=2))
        levels.append(self.conv("neck.fpn_convs.4.conv", relu(levels[3]), stride=2))
        return levels

    def head(self, x, level):
        """Heat (H, W), and distances (4, H, W) in pixels."""
        for k in range(4):
            x = self.conv(f"rpn_head.reg_convs.{k}.conv", x)
            x = group_norm(x, *(self.weights[f"rpn_head.reg_convs.{k}.gn.{n}"] for n in NORM))
            x = relu(x)
        scale = self.weights[f"rpn_head.scales.{level}.scale"]
        distances = np.maximum(0, scale * self.conv("rpn_head.conv_reg", x)) * STRIDES[level]
        return sigmoid(self.conv("rpn_head.conv_cls", x)[0]), distances

    def stage(self, i, cells):
        """(N, 256, 7, 7) to logits without the background, and deltas."""
        name = f"roi_head.bbox_head.{i}"
        f = relu(self.linear(f"{name}.shared_fcs.0", cells.reshape(len(cells), -1)))
        f = relu(self.linear(f"{name}.shared_fcs.1", f))
        deltas = self.linear(f"{name}.fc_reg.2", relu(self.linear(f"{name}.fc_reg.0", f)))
        e = self.linear(f"{name}.fc_cls.linear", f)
        e = 50 * e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-12)
        return (e @ self.weights[f"{name}.fc_cls.zs_weight"])[:, :-1], deltas

    def cascade(self, levels, boxes, scores, size):
        probabilities = []
        for i, steps in enumerate(STEPS):
            cells = np.stack([read(levels, box, 7) for box in boxes])
            logits, deltas = self.stage(i, cells)
            probabilities.append(sigmoid(logits))
            boxes = np.stack([moved(*row, steps, size) for row in zip(boxes, deltas, strict=True)])
        return boxes, np.sqrt(sum(probabilities) / 3 * scores[:, None])

    def masks(self, levels, boxes):
        found = []
        for box in boxes:
            x = read(levels, box, 14)
            for k in range(4):
                x = relu(self.conv(f"roi_head.mask_head.convs.{k}.conv", x))
            weight = self.weights["roi_head.mask_head.upsample.weight"]  # in, out, 2, 2
            large = np.zeros((256, 28, 28))
            for dy in (0, 1):
                for dx in (0, 1):
                    large[:, dy::2, dx::2] = np.einsum("chw,co->ohw", x, weight[:, :, dy, dx])
            large = relu(large + self.weights["roi_head.mask_head.upsample.bias"][:, None, None])
            found.append(sigmoid(self.conv("roi_head.mask_head.conv_logits", large)[0]))
        return np.stack(found)


NORM = ("weight", "bias")


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def conv(x, weight, bias, stride=1):
    """A convolution of odd side that is padded to keep the size at stride 1."""
    side = weight.shape[-1]
    (_, height, width), edge = x.shape, side // 2
    x = np.pad(x, ((0, 0), (edge, edge), (edge, edge)))
    y = 0
    for dy in range(side):
        for dx in range(side):
            seen = x[:, dy : dy + height : stride, dx : dx + width : stride]
            y = y + np.einsum("oc,chw->ohw", weight[:, :, dy, dx], seen, optimize=True)
    return y + bias[:, None, None]


def group_norm(x, weight, bias):
    groups = x.reshape(32, -1)
    mean, deviation = groups.mean(1, keepdims=True), np.sqrt(groups.var(1, keepdims=True) + 1e-5)
    return ((groups - mean) / deviation).reshape(x.shape) * weight[:, None, None] + bias[
        :, None, None
    ]


def propose(outputs):
    """Proposals and their scores, of the heat and the distances of each level."""
    boxes, scores = [], []
    for (heat, distances), s in zip(outputs, STRIDES, strict=True):
        cells = [(heat[i, j], i, j) for i, j in np.ndindex(heat.shape) if heat[i, j] > 0.0001]
        cells.sort(key=lambda cell: -cell[0])
        for value, i, j in cells[:1000]:
            left, top, right, bottom = distances[:, i, j]
            x, y = (j + 0.5) * s, (i + 0.5) * s
            x1, y1 = x - left, y - top
            x2, y2 = max(x + right, x1 + 0.01), max(y + bottom, y1 + 0.01)
            boxes.append((x1, y1, x2, y2))
            scores.append(np.sqrt(value))
    kept = greedy(boxes, scores, 0.9)[:256]
    return np.reshape(boxes, (-1, 4))[kept], np.array(scores)[kept]


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else np.nan


def greedy(boxes, scores, limit):
    """Rows that are kept, the best first."""
    kept = []
    for row in sorted(range(len(scores)), key=lambda row: -scores[row]):
        if not any(overlap(boxes[row], boxes[other]) > limit for other in kept):
            kept.append(row)
    return kept


def read(levels, box, grid):
    """RoIAlign: adaptive, aligned, averaging; (256, grid, grid)."""
    x1, y1, x2, y2 = box
    found = np.zeros((len(levels[0]), grid, grid))
    area = (x2 - x1) * (y2 - y1)
    if area <= 0:
        return found
    level = int(np.clip(np.floor(np.log2(np.sqrt(area) / 112 + 1e-6)), 0, 2))
    x, s = levels[level], STRIDES[level]
    cell_x, cell_y = (x2 - x1) / s / grid, (y2 - y1) / s / grid
    num_x, num_y = int(np.ceil(cell_x)), int(np.ceil(cell_y))
    for i in range(grid):
        for j in range(grid):
            for ky in range(num_y):
                for kx in range(num_x):
                    v = y1 / s - 0.5 + (i + (ky + 0.5) / num_y) * cell_y
                    u = x1 / s - 0.5 + (j + (kx + 0.5) / num_x) * cell_x
                    found[:, i, j] += bilinear(x, u, v) / (num_x * num_y)
    return found


def bilinear(x, u, v):
    """The value at column u, row v; a cell beyond the edge counts as the edge, further out as 0."""
    height, width = x.shape[1:]
    if not (-1 <= u <= width and -1 <= v <= height):
        return 0
    u, v = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
    j, i = min(int(u), max(width - 2, 0)), min(int(v), max(height - 2, 0))
    du, dv = u - j, v - i
    right, below = min(j + 1, width - 1), min(i + 1, height - 1)
    upper = x[:, i, j] * (1 - du) + x[:, i, right] * du
    return upper * (1 - dv) + (x[:, below, j] * (1 - du) + x[:, below, right] * du) * dv


def moved(box, deltas, steps, size):
    x1, y1, x2, y2 = box
    dx, dy, dw, dh = deltas * steps
    limit = abs(np.log(16 / 1000))
    x, y = (x1 + x2) / 2 + (x2 - x1) * dx, (y1 + y2) / 2 + (y2 - y1) * dy
    w = (x2 - x1) * np.exp(np.clip(dw, -limit, limit))
    h = (y2 - y1) * np.exp(np.clip(dh, -limit, limit))
    corners = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return np.clip(corners, 0, np.array([size[1], size[0]] * 2))


def select(boxes, scores, limit, max_overlap, most, many=100_000):
    """Rows, classes and scores of what is found, the best first."""
    pairs = [pair for pair in np.ndindex(scores.shape) if scores[pair] > limit]
    if len(pairs) < many:
        kept = greedy([boxes[n] for n, _ in pairs], [scores[pair] for pair in pairs], max_overlap)
        found = [pairs[row] for row in kept]
    else:
        found = []
        for c in range(scores.shape[1]):
            own = [n for n, label in pairs if label == c]
            kept = greedy(boxes[own], scores[own, c], max_overlap)
            found += [(own[row], c) for row in kept]
        found.sort(key=lambda pair: -scores[pair])
    return [(n, c, scores[n, c]) for n, c in found[:most]]


def paste(probabilities, box, size):
    """(H, W) bool: the mask in the whole picture."""
    x0, y0, x1, y1 = box
    mask = np.zeros(size, bool)
    for row, column in np.ndindex(size):
        u = (column + 0.5 - x0) / (x1 - x0) * 2 - 1 if x1 > x0 else 0
        v = (row + 0.5 - y0) / (y1 - y0) * 2 - 1 if y1 > y0 else 0
        # From -1..1 over the box to cells, counted from the middle of the first.
        j, i = (u + 1) * 14 - 0.5, (v + 1) * 14 - 0.5
        value = 0
        for near_i in (int(np.floor(i)), int(np.floor(i)) + 1):
            for near_j in (int(np.floor(j)), int(np.floor(j)) + 1):
                if 0 <= near_i < 28 and 0 <= near_j < 28:
                    share = (1 - abs(i - near_i)) * (1 - abs(j - near_j))
                    value += share * probabilities[near_i, near_j]
        mask[row, column] = value >= 0.5
    return mask
