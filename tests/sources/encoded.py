"""Small video files, encoded here and now, whose frames tell their own number."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = Fraction(25)
SOUND_RATE = 48000

# Six seconds of sound of which every moment is unlike the others.
_noise = np.random.default_rng(0).normal(size=6 * SOUND_RATE)
RUSTLE = (9000 * np.convolve(_noise, np.full(24, 24**-0.5), "same")).clip(-30000, 30000)
RUSTLE = RUSTLE.astype(np.int16)


def numbered(number, width=64, height=48):
    """A grey image whose brightness is its number; noise in its lower half makes it big."""
    image = np.full((height, width, 3), 10 + 6 * number, np.uint8)
    noise = np.random.default_rng(number).integers(0, 256, (height - height // 2, width, 1))
    image[height // 2 :] = noise
    return image


def number_of(image):
    """The number that `numbered` put into an image, after any lossy codec."""
    return round((float(image[: image.shape[0] // 2].mean()) - 10) / 6)


def numbers(frames):
    return [number_of(frame.image) for frame in frames]


def times(frames):
    return [frame.time for frame in frames]


@dataclass
class Clip:
    """What to encode. `ticks` are the frames' times in units of `time_base`; by default one each.

    `sound` is the codec of `RUSTLE` from `sound_from` to `sound_to`, in seconds.
    """

    images: list
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    rate: Fraction = RATE
    time_base: Fraction | None = None
    ticks: list | None = None
    options: dict = field(default_factory=dict)
    container: dict = field(default_factory=dict)
    format: str | None = None
    sound: str | None = None
    sound_from: float = 0
    sound_to: float = 1
    matrix: int | None = None  # ITU-T H.273: 1 is BT.709, 5 is BT.601
    range: int = 1  # of FFmpeg: 1 is 16 to 235, 2 is 0 to 255

    def write(self, path):
        with av.open(str(path), "w", format=self.format, options=self.container) as output:
            pictures = self._picture_stream(output)
            sound = self._sound_stream(output)
            output.start_encoding()
            self._mux_pictures(output, pictures)
            if sound:
                self._mux_sound(output, sound)
        return path

    def _picture_stream(self, output):
        stream = output.add_stream(self.codec, rate=self.rate, options=self.options)
        stream.height, stream.width, _ = self.images[0].shape if self.images else (16, 16, 3)
        stream.pix_fmt = self.pix_fmt
        stream.codec_context.time_base = self.time_base or 1 / self.rate
        if self.matrix:
            stream.codec_context.colorspace = self.matrix
            stream.codec_context.color_range = self.range
        return stream

    def _sound_stream(self, output):
        if self.sound is None:
            return None
        return output.add_stream(self.sound, rate=SOUND_RATE, layout="mono")

    def _mux_pictures(self, output, stream):
        ticks = range(len(self.images)) if self.ticks is None else self.ticks
        for image, tick in zip(self.images, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format=self.pix_fmt, dst_colorspace=self.matrix, dst_color_range=self.range
            )
            frame.pts = tick
            frame.time_base = self.time_base or 1 / self.rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))

    def _mux_sound(self, output, stream):
        first, last = round(self.sound_from * SOUND_RATE), round(self.sound_to * SOUND_RATE)
        for start in range(first, last, 960):
            wave = RUSTLE[None, start : min(start + 960, last)]
            samples = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            samples.rate = SOUND_RATE
            samples.pts = start
            samples.time_base = Fraction(1, SOUND_RATE)
            output.mux(stream.encode(samples))
        output.mux(stream.encode(None))


def write_numbered(path, num_frames=12, **clip):
    """A video of `num_frames` frames that count up."""
    return Clip([numbered(number) for number in range(num_frames)], **clip).write(path)


def packet_places(path):
    """(offset, size) in the file of each packet of the pictures."""
    with av.open(str(path)) as video:
        return [(packet.pos, packet.size) for packet in video.demux(video=0) if packet.size]


def packets_of_sound(path):
    """(time in seconds, bytes) of each packet of the sound."""
    with av.open(str(path)) as video:
        packets = [packet for packet in video.demux(audio=0) if packet.size]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets]


def turned(path, quarter_turns_clockwise):
    """Write into an mp4 how a player has to turn its pictures (ISO 14496-12, section 8.3.2)."""
    matrices = {0: (1, 0, 0, 1), 1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}
    a, b, c, d = matrices[quarter_turns_clockwise]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # past version, flags, times, id, duration, layer, volume
    one, unit = 1 << 16, 1 << 30
    numbers = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, unit]
    data[at : at + 36] = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    path.write_bytes(data)
    return path


def open_files(path):
    """How often this process has the file open (Linux)."""
    links = (link for link in Path("/proc/self/fd").iterdir() if link.exists())
    return sum(link.resolve() == path.resolve() for link in links)
