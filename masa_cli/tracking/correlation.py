"""Where a piece of an image lies in the next one: a correlation filter with a colour histogram.

The filter is learned in the Fourier domain from shifted copies of one patch (MOSSE; KCF, arXiv
1404.7584) on cells of oriented gradients and grey; beside it, colours tell object from surroundings
(as in Staple, arXiv 1512.01355). It finds what it was shown, whatever it is, as long as it changes
slowly: for what no detector knows. Images are looked at here, and nowhere in association itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from masa_cli.structures import FloatArray, Image, State

Complex = NDArray[np.complex64]

CELL = 4  # pixels of the patch
PATCH_AREA = 148.0**2  # square pixels, of the patch that is cut out and resized
CONTEXT = 1.0  # of surroundings: the mean of width and height, so many times, is added to both
ORIENTATIONS = 9
SHARPNESS = 1 / 16  # standard deviation of the wanted response, of the size of the object
RIDGE = 1e-3
PACE, COLOUR_PACE = 0.02, 0.04  # weight of a new patch
COLOUR_WEIGHT = 0.3  # of the response of colours
BINS = 16  # of each colour
SCALES = (0.95, 1.0, 1.05)  # tried around the last size
SCALE_COST = 0.985  # a response at another size counts so much
PEAK_CELLS = 5  # around the peak are no sidelobes


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Where the piece was found.

    Attributes:
        box: (4,) xyxy in source pixels.
        sharpness: of the peak: its height over the sidelobes, in their standard deviations. About
            5 and less is none.
        height: of the peak, about 1 where nothing has changed.
    """

    box: FloatArray
    sharpness: float
    height: float


class Correlation:
    """Finds again what it was shown.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) xyxy in source pixels, of some width and height: what is to be found.
    """

    def __init__(self, image: Image, box: FloatArray) -> None:
        size = np.maximum(box[2:] - box[:2], 1.0)
        self._set_up(size.astype(np.float64))
        patch = self._patch(image, box, 1.0)
        self._numerator, self._denominator = self._learned(patch)
        self._object, self._around = self._colours(patch)

    def _set_up(self, size: NDArray[np.float64]) -> None:
        """Sizes that stay: of the object and its surroundings, and of the patch in cells."""
        self._size = size  # width, height of the first box
        region = size + CONTEXT * size.mean()
        self._zoom = np.sqrt(PATCH_AREA / region.prod())  # patch pixels to a source pixel
        self._cells = np.maximum(np.round(region * self._zoom / CELL), 5).astype(int)
        self._inner = np.clip(np.round(size * self._zoom), 1, self._cells * CELL).astype(int)
        columns, rows = (np.arange(n) - n // 2 for n in self._cells)
        spread = np.maximum(SHARPNESS * np.sqrt(size.prod()) * self._zoom / CELL, 0.5)
        wanted = np.exp(-0.5 * (rows[:, None] ** 2 + columns**2) / spread**2)
        self._wanted = np.fft.fft2(np.fft.ifftshift(wanted)).astype(np.complex64)
        self._window = np.outer(np.hanning(self._cells[1]), np.hanning(self._cells[0]))

    def find(self, image: Image, near: FloatArray) -> Match:
        """Where it is in an image, within about its own size of `near`.

        Args:
            image: (H, W, 3) uint8 RGB.
            near: (4,) xyxy, where it is expected and how large, source pixels.
        """
        best: tuple[float, Match] | None = None
        for scale in SCALES:
            value, match = self._find(image, near, scale)
            value *= 1.0 if scale == 1.0 else SCALE_COST
            if best is None or value > best[0]:
                best = value, match
        if best is None:
            raise ValueError("there are scales")
        return best[1]

    def _find(self, image: Image, near: FloatArray, scale: float) -> tuple[float, Match]:
        patch = self._patch(image, near, scale)
        spectrum = np.fft.fft2(self._features(patch), axes=(0, 1)).astype(np.complex64)
        joint = (np.conj(self._numerator) * spectrum).sum(axis=2)
        plain = np.fft.fftshift(np.fft.ifft2(joint / (self._denominator + RIDGE)).real)
        response = (1 - COLOUR_WEIGHT) * plain + COLOUR_WEIGHT * self._by_colour(patch)
        peak = np.unravel_index(int(response.argmax()), response.shape)
        row, column = (int(each) for each in peak)
        shift = np.array([_between(response[row], column), _between(response[:, column], row)])
        shift -= self._cells // 2
        centre, size = _centre_and_size(near)
        size = size * scale
        centre = centre + shift * CELL / self._zoom * (size / self._size)
        box = np.concatenate([centre - size / 2, centre + size / 2]).astype(np.float32)
        return float(response[peak]), Match(box, _sharpness(plain), float(plain[peak]))

    def learn(self, image: Image, box: FloatArray) -> None:
        """Take in what it is like now, there where it surely is: (4,) xyxy in source pixels."""
        patch = self._patch(image, box, 1.0)
        numerator, denominator = self._learned(patch)
        self._numerator += PACE * (numerator - self._numerator)
        self._denominator += PACE * (denominator - self._denominator)
        inside, around = self._colours(patch)
        self._object += COLOUR_PACE * (inside - self._object)
        self._around += COLOUR_PACE * (around - self._around)

    def state(self) -> State:
        """What `restored` needs."""
        return {
            "size": self._size,
            "numerator": self._numerator,
            "denominator": self._denominator,
            "object": self._object,
            "around": self._around,
        }

    @classmethod
    def restored(cls, state: State) -> Correlation:
        """The one that had that `state()`."""
        made = cls.__new__(cls)
        made._set_up(state["size"])
        made._numerator, made._denominator = state["numerator"], state["denominator"]
        made._object, made._around = state["object"], state["around"]
        return made

    def _patch(self, image: Image, box: FloatArray, scale: float) -> Image:
        """(h, w, 3) uint8, the object in the middle; beyond the image its edge is repeated."""
        centre, size = _centre_and_size(box)
        width, height = (self._cells * CELL).tolist()
        step = scale * size / self._size / self._zoom  # source pixels to a patch pixel
        first = centre - step * np.array([width, height]) / 2
        if step.max() > 1:  # less than half a source pixel of a large object is rounded off
            last = np.maximum(np.round(first + step * np.array([width, height])), first + 1)
            columns = np.arange(round(first[0]), round(last[0])).clip(0, image.shape[1] - 1)
            rows = np.arange(round(first[1]), round(last[1])).clip(0, image.shape[0] - 1)
            cut = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            if cut.shape[:2] != (len(rows), len(columns)):
                cut = image[rows[:, None], columns]
            return cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
        first += step / 2 - 0.5  # middles of pixels on middles of pixels
        return cv2.warpAffine(
            image,
            np.array([[step[0], 0, first[0]], [0, step[1], first[1]]]),
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # type: ignore[return-value]

    def _features(self, patch: Image) -> FloatArray:
        """(rows, columns, C) of cells: oriented gradients, grey, two colours; windowed."""
        columns, rows = self._cells.tolist()
        grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=1)
        down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=1)
        strength = np.hypot(across, down)
        angle = np.arctan2(down, across) * (ORIENTATIONS / np.pi) % ORIENTATIONS
        lower = np.floor(angle)
        upper_share = angle - lower
        lower = lower.astype(np.int64) % ORIENTATIONS
        pixel_rows, pixel_columns = (np.arange(n) // CELL for n in grey.shape)
        cell = pixel_rows[:, None] * columns + pixel_columns
        sums = np.zeros(rows * columns * ORIENTATIONS)
        for bins, share in ((lower, 1 - upper_share), ((lower + 1) % ORIENTATIONS, upper_share)):
            index = (cell * ORIENTATIONS + bins).ravel()
            sums += np.bincount(index, (strength * share).ravel(), minlength=len(sums))
        gradients = sums.reshape(rows, columns, ORIENTATIONS).astype(np.float32)
        energy = cv2.blur((gradients**2).sum(axis=2), (3, 3)) * 9
        gradients = np.minimum(gradients / np.sqrt(energy + 1e-3)[..., None], 0.3)
        colours = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB)
        colours = cv2.resize(colours, (columns, rows), interpolation=cv2.INTER_AREA)
        plain = colours.astype(np.float32) / 255
        plain -= plain.mean(axis=(0, 1))
        features = np.concatenate([gradients, plain], axis=2) * self._window[..., None]
        windowed: FloatArray = features.astype(np.float32)
        return windowed

    def _learned(self, patch: Image) -> tuple[Complex, FloatArray]:
        """Numerator and denominator of the filter that answers to this patch as wanted."""
        spectrum = np.fft.fft2(self._features(patch), axes=(0, 1)).astype(np.complex64)
        numerator = np.conj(self._wanted)[..., None] * spectrum
        return numerator, (np.abs(spectrum) ** 2).sum(axis=2)

    def _colours(self, patch: Image) -> tuple[FloatArray, FloatArray]:
        """Shares of colours inside the box, and around it."""
        bins = _bins(patch)
        inside = np.zeros(bins.shape, np.bool_)
        height, width = bins.shape
        # Not to the edge of the box, whose corners often show what is behind.
        half = np.maximum(self._inner * 0.4, 1).astype(int)
        inside[
            max(height // 2 - half[1], 0) : height // 2 + half[1],
            max(width // 2 - half[0], 0) : width // 2 + half[0],
        ] = True
        around = np.ones(bins.shape, np.bool_)
        half = self._inner // 2
        around[
            max(height // 2 - half[1], 0) : height // 2 + half[1],
            max(width // 2 - half[0], 0) : width // 2 + half[0],
        ] = False
        counts = [
            np.bincount(bins[where], minlength=BINS**3).astype(np.float32)
            for where in (inside, around)
        ]
        first, second = (each / max(each.sum(), 1) for each in counts)
        return first, second

    def _by_colour(self, patch: Image) -> FloatArray:
        """(rows, columns) how much of the box, at each place, has colours of the object."""
        rate = (self._object + 1e-5) / (self._object + self._around + 2e-5)
        likely = rate[_bins(patch)].astype(np.float32)
        window = tuple(int(n) for n in np.maximum(self._inner, 1))
        shares = cv2.blur(likely, window, borderType=cv2.BORDER_REPLICATE)
        reduced = cv2.resize(shares, tuple(self._cells.tolist()), interpolation=cv2.INTER_AREA)
        found: FloatArray = np.asarray(reduced, np.float32)
        return found


def _centre_and_size(box: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of (4,) xyxy."""
    exact = box.astype(np.float64)
    return (exact[:2] + exact[2:]) / 2, np.maximum(exact[2:] - exact[:2], 1.0)


def _bins(patch: Image) -> NDArray[np.int64]:
    """(h, w) the number of each pixel's colour."""
    reduced = patch.astype(np.int64) // (256 // BINS)
    numbers: NDArray[np.int64] = (reduced[..., 0] * BINS + reduced[..., 1]) * BINS + reduced[..., 2]
    return numbers


def _between(values: NDArray[np.float64], peak: int) -> float:
    """The position of the peak by a parabola through its neighbours."""
    if not 0 < peak < len(values) - 1:
        return float(peak)
    before, at, after = values[peak - 1 : peak + 2].tolist()
    bend = before - 2 * at + after
    return peak + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _sharpness(response: NDArray[np.float64]) -> float:
    row, column = np.unravel_index(int(response.argmax()), response.shape)
    beside = np.ones(response.shape, np.bool_)
    beside[
        max(row - PEAK_CELLS, 0) : row + PEAK_CELLS + 1,
        max(column - PEAK_CELLS, 0) : column + PEAK_CELLS + 1,
    ] = False
    if not beside.any():
        return 0.0
    lobes = response[beside]
    return float((response[row, column] - lobes.mean()) / max(lobes.std(), 1e-6))
