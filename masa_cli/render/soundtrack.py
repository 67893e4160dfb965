"""The sound of one video on its way into another: the same packets, in time with the pictures.

Sound in a codec that mp4 players do not know (PCM, Vorbis) is encoded to AAC; nothing else is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet

from masa_cli.sources.video_file import exact, time_zero

log = logging.getLogger(__name__)

_COPIED = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})
_AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000})


class Soundtrack:
    """Copies the sound of a video into an open mp4, piece by piece as the pictures are written.

    Args:
        path: the video with the sound. Without sound, nothing is written; sound that cannot be
            read is logged and left out.
        output: where the sound goes. Its header must not have been written yet.
        tick: the time base of the pictures.
        start: sound before it is left out, and times count from it; seconds, a multiple of `tick`.
    """

    def __init__(
        self, path: Path, output: OutputContainer, tick: Fraction, *, start: Fraction = Fraction(0)
    ) -> None:
        self._path = path
        self._output = output
        self._input: InputContainer | None = None
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        try:
            self._input = av.open(str(path.absolute()), metadata_errors="replace")
            if self._input.streams.audio:
                sound = self._input.streams.audio[0]
                zero = time_zero(self._input, tick) + start
                self._packets = _transfer(self._input, sound, output, zero, is_part=start > 0)
        except (FFmpegError, ValueError) as error:
            self._give_up(error)
        self._next: Packet[AudioStream] | None = None

    def write_until(self, time: Fraction) -> None:
        """Write the sound that begins before `time`, in seconds."""
        while (packet := self._upcoming()) and _start(packet) < time:
            self._output.mux(packet)
            self._next = None

    def close(self) -> None:
        """Close the video the sound comes from."""
        if self._input is not None:
            self._input.close()

    def _upcoming(self) -> Packet[AudioStream] | None:
        """The packet to write next; None after the last."""
        if self._next is None:
            try:
                self._next = next(self._packets, None)
            except FFmpegError as error:
                self._give_up(error)
        return self._next

    def _give_up(self, error: Exception) -> None:
        log.warning("%s: its sound is left out from here on: %s", self._path, error)
        self._packets = iter(())


def _transfer(
    source: InputContainer,
    sound: AudioStream,
    output: OutputContainer,
    zero: Fraction,
    *,
    is_part: bool,
) -> Iterator[Packet[AudioStream]]:
    """Add a stream for `sound` to `output`; its packets, counted from `zero`.

    Of a part, those before it are left out; of a whole, a decoder may need them.
    """
    if sound.codec_context is None:
        raise ValueError("its codec is unknown")
    if sound.codec_context.codec.canonical_name in _COPIED:
        target = output.add_stream_from_template(sound)
        return _copied(source, sound, target, zero, is_part)
    rate = sound.rate if sound.rate in _AAC_RATES else 48000
    layout = "mono" if sound.channels == 1 else "stereo"
    encoded = output.add_stream("aac", rate=rate, layout=layout)
    return _encoded(source, sound, encoded, zero, is_part)


def _copied(
    source: InputContainer,
    sound: AudioStream,
    target: AudioStream,
    zero: Fraction,
    is_part: bool,
) -> Iterator[Packet[AudioStream]]:
    for packet in source.demux(sound):
        if packet.dts is None or packet.pts is None:
            continue  # the end of the file, or a piece that belongs nowhere
        shift = round(zero / exact(packet.time_base))
        packet.pts -= shift
        packet.dts -= shift
        if is_part and packet.pts < 0:
            continue
        packet.stream = target
        yield packet


def _encoded(
    source: InputContainer,
    sound: AudioStream,
    target: AudioStream,
    zero: Fraction,
    is_part: bool,
) -> Iterator[Packet[AudioStream]]:
    for packet in source.demux(sound):
        for samples in packet.decode():
            if samples.pts is not None and samples.time_base is not None:
                samples.pts -= round(zero / exact(samples.time_base))
                if is_part and samples.pts < 0:
                    continue
            yield from target.encode(samples)
    yield from target.encode(None)


def _start(packet: Packet[AudioStream]) -> Fraction:
    return (packet.pts or 0) * exact(packet.time_base)
