"""Random changes that training examples go through, all drawn from one seeded generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

from erc_ros.values.utterance import SAMPLE_RATE

_SHARES = (
    "scale",
    "aspect",
    "shift",
    "erase",
    "erase_side",
    "coarse_share",
    "blur",
    "side_light",
)


@dataclass(frozen=True, slots=True)
class FaceAugmentation:
    """How far pictures are moved and hidden. A detector's box is never quite where FER2013's is."""

    rotation: float = 15.0
    """Degrees, either way."""
    scale: float = 0.15
    """Share of the size, larger or smaller."""
    shift: float = 0.1
    """Share of the width and height, either way."""
    gamma: float = 0.3
    """Exponent of the brightness between 1 / (1 + gamma) and 1 + gamma."""
    erase: float = 0.4
    """Share of the pictures that lose a rectangle."""
    erase_side: float = 0.45
    """Longest side of the rectangle as a share of the picture's."""
    coarse_size: int = 32
    """Side of the pictures in the first epochs: half the cost, and the coarse shape comes first."""
    coarse_share: float = 0.6
    """Share of the epochs at coarse_size; 0: none."""
    aspect: float = 0.0
    """Share by which a picture is wider or narrower: other detectors cut other boxes."""
    blur: float = 0.0
    """Share of the pictures that are out of focus, by up to 1.2 pixels (a Gaussian's sigma)."""
    side_light: float = 0.0
    """Share of the brightness that one side of a face has more than the other, at most."""
    grain: float = 0.0
    """Noise of the camera in a dark room, at most; standard deviation, of a brightness of 1."""

    def __post_init__(self) -> None:
        for name in ("rotation", "gamma", "grain", *_SHARES):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must not be negative")
        for name in _SHARES:
            if getattr(self, name) > 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be a share, at most 1")
        if self.coarse_size < 16 or self.coarse_size % 16:
            raise ValueError(f"coarse_size is {self.coarse_size}, must be a multiple of 16")


def augment_faces(
    pictures: Tensor, how: FaceAugmentation, generator: Generator, size: int | None = None
) -> Tensor:
    """Flip, turn, shift, scale, gamma and hide parts: (B, 1, H, W) in [0, 1] -> (B, 1, size, size).

    size None keeps H; a smaller size samples the picture more coarsely (cheaper early epochs).
    """
    batch, _, height, _ = pictures.shape
    size = size or height

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(batch, *shape).uniform_(low, high, generator=generator)

    angle = uniform(-how.rotation, how.rotation) * (math.pi / 180)
    zoom = 1 + uniform(-how.scale, how.scale)
    wide = uniform(-how.aspect, how.aspect).exp()
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    turn = torch.stack(
        [
            torch.stack([flip * zoom * angle.cos(), -zoom * angle.sin()], dim=1),
            torch.stack([flip * zoom * angle.sin(), zoom * angle.cos()], dim=1),
        ],
        dim=1,
    )  # (B, 2, 2)
    turn[:, 0] *= wide[:, None]
    # A shift of s of the width is 2 s in the coordinates -1..1 of affine_grid.
    theta = torch.cat([turn, uniform(-2 * how.shift, 2 * how.shift, 2, 1)], dim=2)  # (B, 2, 3)
    grid = affine_grid(theta, [batch, 1, size, size], align_corners=False)
    moved = grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    limit = math.log1p(how.gamma)
    moved = moved.clamp_min(1e-4) ** uniform(-limit, limit, 1, 1, 1).exp()
    moved = _lit_and_blurred(moved, how, uniform, generator)
    hidden = _rectangles(batch, size, how, uniform)  # (B, 1, size, size)
    return torch.where(hidden, moved.mean(dim=(2, 3), keepdim=True), moved)


def _lit_and_blurred(
    faces: Tensor, how: FaceAugmentation, uniform: Callable[..., Tensor], generator: Generator
) -> Tensor:
    """Light from a side, out of focus, grainy; a step of strength 0 is left out."""
    if how.side_light:
        at = torch.linspace(-1, 1, faces.shape[-1])
        across = uniform(-1, 1, 1, 1, 1) * at + uniform(-1, 1, 1, 1, 1) * at[:, None]
        faces = (faces * (1 + 0.5 * how.side_light * across)).clamp(0, 1)
    if how.blur:
        soft = avg_pool2d(avg_pool2d(faces, 3, 1, 1), 3, 1, 1)
        share = uniform(0, 1, 1, 1, 1) * (uniform(0, 1, 1, 1, 1) < how.blur)
        faces = faces.lerp(soft, share)
    if how.grain:
        noise = torch.randn(faces.shape, generator=generator)
        faces = (faces + uniform(0, how.grain, 1, 1, 1) * noise).clamp(0, 1)
    return faces


def no_faces(count: int, size: int, generator: Generator) -> Tensor:
    """Pictures that show nobody: blotches from coarse to fine, (count, 1, size, size) in [0, 1]."""
    pictures = torch.empty(count, 1, size, size)
    for picture in pictures:
        side = int(torch.randint(1, size + 1, (1,), generator=generator))
        blotches = torch.rand(1, 1, side, side, generator=generator)
        picture[:] = interpolate(blotches, (size, size), mode="bilinear", align_corners=False)[0]
    return pictures


def _rectangles(
    batch: int, size: int, how: FaceAugmentation, uniform: Callable[..., Tensor]
) -> Tensor:
    """One rectangle in a share of the pictures: (B, 1, size, size) bool, True = hidden."""
    at = (torch.arange(size) + 0.5) / size
    inside = []
    for _ in range(2):
        side = uniform(0.1, max(0.1, how.erase_side), 1)
        start = uniform(0, 1, 1) * (1 - side)
        inside.append((at >= start) & (at < start + side))  # (B, size)
    chosen = uniform(0, 1) < how.erase
    return (inside[0][:, :, None] & inside[1][:, None, :] & chosen[:, None, None])[:, None]


def reverberate(
    samples: NDArray[np.float32], seconds: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """A synthetic room: the direct sound and noise that decays by 60 dB in `seconds` (RT60)."""
    length = round(seconds * SAMPLE_RATE)
    time = np.arange(length) / length
    response = generator.standard_normal(length) * 10 ** (-3 * time)
    response *= generator.uniform(0.1, 0.8) / np.sqrt(np.sum(np.square(response)))
    response[: SAMPLE_RATE // 500] = 0  # the first reflection comes 2 ms later at the earliest
    response[0] = 1
    wet = _convolve(samples.astype(np.float64), response)[: len(samples)]
    return wet.astype(np.float32)


def add_noise(
    samples: NDArray[np.float32], snr: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Noise whose power falls with frequency to a random power, `snr` dB below the sound."""
    size = 1 << (len(samples) - 1).bit_length()
    frequencies = np.arange(1, size // 2 + 2, dtype=np.float64)
    shape = frequencies ** (-generator.uniform(0.0, 2.0) / 2)
    spectrum = shape * np.exp(2j * np.pi * generator.random(len(frequencies)))
    noise = np.fft.irfft(spectrum, size)[: len(samples)]
    power = np.mean(np.square(samples, dtype=np.float64))
    noise *= np.sqrt(power / np.mean(np.square(noise)) / 10 ** (snr / 10))
    return (samples + noise).astype(np.float32)


def _convolve(sound: NDArray[np.float64], response: NDArray[np.float64]) -> NDArray[np.float64]:
    length = len(sound) + len(response) - 1
    size = 1 << (length - 1).bit_length()
    product = np.fft.rfft(sound, size) * np.fft.rfft(response, size)
    return np.fft.irfft(product, size)[:length]


@dataclass(frozen=True, slots=True)
class ChannelAugmentation:
    """What may lie between a speaker and us: the same for all that a speaker says in a version."""

    versions: int = 2
    """Of a clip: the clean one, and those through other channels."""
    changed: float = 0.33
    """Share of the clips that have those other versions; the network takes its time."""
    reverberant: float = 0.5
    """Share of the channels that are a room."""
    longest_reverberation: float = 0.6
    """s until the room is 60 dB quieter (RT60); at least 0.1."""
    telephone: float = 0.25
    """Share that is cut to 300 to 3400 Hz."""
    noisy: float = 0.7
    """Share with noise."""
    lowest_snr: float = 5.0
    """dB; at most 30 dB. Each clip has noise of its own, within 3 dB of its channel's level."""
    gain: float = 20.0
    """dB, quieter by up to this and louder by up to half of it, where it may clip."""

    def __post_init__(self) -> None:
        if self.versions < 1:
            raise ValueError(f"versions is {self.versions}, must be at least 1")
        for name in ("changed", "reverberant", "telephone", "noisy"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be a share in [0, 1]")
        if self.longest_reverberation < 0.1 or self.lowest_snr > 30 or self.gain < 0:
            raise ValueError(
                "longest_reverberation must be at least 0.1, lowest_snr at most 30, gain not"
                " negative"
            )


@dataclass(frozen=True, slots=True)
class Channel:
    """room: s of reverberation, 0: none. snr: dB, infinite: no noise. level: a factor."""

    room: float = 0.0
    is_telephone: bool = False
    snr: float = math.inf
    level: float = 1.0

    @classmethod
    def drawn(cls, how: ChannelAugmentation, generator: np.random.Generator) -> Channel:
        """One at random."""
        room = generator.uniform(0.1, how.longest_reverberation)
        snr = generator.uniform(how.lowest_snr, 30.0)
        is_room, is_telephone, is_noisy = generator.random(3) < (
            how.reverberant,
            how.telephone,
            how.noisy,
        )
        level = 10 ** (generator.uniform(-how.gain, how.gain / 2) / 20)
        return cls(
            room * bool(is_room), bool(is_telephone), snr if is_noisy else math.inf, float(level)
        )

    def carry(
        self, samples: NDArray[np.float32], generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """A clip at the other end, (n,) at SAMPLE_RATE -> (n,), in [-1, 1]."""
        if self.room:
            samples = reverberate(samples, self.room, generator)
        if math.isfinite(self.snr):
            samples = add_noise(samples, self.snr + generator.uniform(-3, 3), generator)
        if self.is_telephone:
            samples = telephone_band(samples)
        result: NDArray[np.float32] = np.clip(samples * np.float32(self.level), -1, 1)
        return result


def telephone_band(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Only 300 to 3400 Hz; 24 dB per octave outside of it."""
    spectrum = np.fft.rfft(samples)
    hertz = np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE), 1.0)
    passed = np.minimum(1.0, hertz / 300) ** 4 * np.minimum(1.0, 3400 / hertz) ** 4
    narrow: NDArray[np.float32] = np.fft.irfft(spectrum * passed, len(samples)).astype(np.float32)
    return narrow


def no_voices(count: int, generator: np.random.Generator) -> list[NDArray[np.float32]]:
    """Sounds of nobody, 0.5 to 4 s each: steady noise, hum, chords, coughs, and a quiet room."""
    found = []
    for number in range(count):
        length = round(generator.uniform(0.5, 4.0) * SAMPLE_RATE)
        time = np.arange(length) / SAMPLE_RATE
        noise = add_noise(np.full(length, 1e-3, np.float32), -60.0, generator) - np.float32(1e-3)
        noise /= np.abs(noise).max()
        kind = number % 5
        if kind == 0:
            sound = noise
        elif kind == 1:  # mains or a fan: harmonics of a low tone
            low = generator.uniform(45, 200)
            tones = [np.sin(2 * np.pi * low * k * time) / k for k in range(1, 12)]
            sound = np.sum(tones, axis=0) + 0.05 * noise
        elif kind == 2:  # chords, three tones each
            sound = np.zeros(length)
            for begin in range(0, length, SAMPLE_RATE // 3):
                since = time[: length - begin]
                for step in generator.choice(24, 3, replace=False):
                    pitch = 130.8 * 2 ** (step / 12)
                    overtones = [np.sin(2 * np.pi * pitch * k * since) / k**2 for k in (1, 2, 3, 4)]
                    sound[begin:] += np.sum(overtones, axis=0) * np.exp(-4 * since)
        elif kind == 3:  # bursts that rise in 10 ms and fall in about 100
            sound = 0.01 * noise
            for begin in generator.integers(0, length, generator.integers(1, 4)):
                since = time[: length - begin]
                fall = np.exp(-since / generator.uniform(0.04, 0.15))
                sound[begin:] += noise[: length - begin] * np.minimum(since / 0.01, 1) * fall
        else:
            sound = noise * 10 ** (-generator.uniform(40, 55) / 20)
        loud = 1.0 if kind == 4 else generator.uniform(0.05, 0.7) / np.abs(sound).max()
        found.append((sound * loud).astype(np.float32))
    return found
