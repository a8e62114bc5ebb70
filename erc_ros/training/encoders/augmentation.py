"""Random changes of training examples, and random negatives, from a seeded generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate

from erc_ros.values.settings import check, setting
from erc_ros.values.utterance import SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class FaceAugmentation:
    """Strength of the augmentation of face images; shares are in [0, 1]."""

    rotation: float = setting(15.0, "in either direction", "degrees", (0, 180))
    scale: float = setting(0.15, "share of the size, larger or smaller", "", (0, 1))
    shift: float = setting(0.1, "share of width and height, in each direction", "", (0, 1))
    gamma: float = setting(0.3, "brightness exponent from 1 / (1 + gamma) to 1 + gamma", "", (0, 9))
    erase: float = setting(0.4, "share of the images with a hidden rectangle", "", (0, 1))
    erase_side: float = setting(0.45, "longest side of it, as a share of the image", "", (0, 1))
    coarse_size: int = setting(32, "side of the images in the first epochs", "pixels", (16, 1024))
    coarse_share: float = setting(0.6, "share of the epochs at coarse_size", "", (0, 1))
    aspect: float = setting(0.0, "share by which an image is wider or narrower", "", (0, 1))
    blur: float = setting(0.0, "share of images blurred by a sigma of up to 1.2 px", "", (0, 1))
    side_light: float = setting(0.0, "brightness difference of both sides, at most", "", (0, 1))
    grain: float = setting(0.0, "standard deviation of sensor noise, at most", "", (0, 1))

    def __post_init__(self) -> None:
        check(self)
        if self.coarse_size % 16:
            raise ValueError(f"coarse_size is {self.coarse_size}, must be a multiple of 16")


def augment_faces(
    images: Tensor, how: FaceAugmentation, generator: Generator, size: int | None = None
) -> Tensor:
    """Flip, rotate, scale, shift, light and hide parts of face images.

    Args:
        images: (B, 1, H, W) in [0, 1].
        size: side of the result; None: H. A smaller one makes early epochs cheaper.

    Returns:
        (B, 1, size, size) in [0, 1].
    """
    batch, _, height, _ = images.shape
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
    moved = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    limit = math.log1p(how.gamma)
    moved = moved.clamp_min(1e-4) ** uniform(-limit, limit, 1, 1, 1).exp()
    moved = _lit_and_blurred(moved, how, uniform, generator)
    hidden = _rectangles(batch, size, how, uniform)  # (B, 1, size, size)
    return torch.where(hidden, moved.mean(dim=(2, 3), keepdim=True), moved)


def _lit_and_blurred(
    faces: Tensor, how: FaceAugmentation, uniform: Callable[..., Tensor], generator: Generator
) -> Tensor:
    """Add light from one side, blur and sensor noise; steps of strength 0 are skipped."""
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
    """Return non-face images (negatives): noise from coarse to fine, (count, 1, size, size)."""
    images = torch.empty(count, 1, size, size)
    for image in images:
        side = int(torch.randint(1, size + 1, (1,), generator=generator))
        blotches = torch.rand(1, 1, side, side, generator=generator)
        image[:] = interpolate(blotches, (size, size), mode="bilinear", align_corners=False)[0]
    return images


def _rectangles(
    batch: int, size: int, how: FaceAugmentation, uniform: Callable[..., Tensor]
) -> Tensor:
    """Draw a rectangle for a share of the images: (B, 1, size, size) bool, True: hidden."""
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
    """Add a synthetic room: noise that decays by 60 dB in `seconds` (RT60)."""
    length = round(seconds * SAMPLE_RATE)
    time = np.arange(length) / length
    response = generator.standard_normal(length) * 10 ** (-3 * time)
    response *= generator.uniform(0.1, 0.8) / np.sqrt(np.sum(np.square(response)))
    response[: SAMPLE_RATE // 500] = 0  # the first reflection is at least 2 ms later
    response[0] = 1
    wet = _convolve(samples.astype(np.float64), response)[: len(samples)]
    return wet.astype(np.float32)


def add_noise(
    samples: NDArray[np.float32], snr: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Add noise of a random spectral slope (white to brown) at `snr` dB."""
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
    """Random recording channels; in one version all clips of a speaker have the same channel."""

    versions: int = setting(2, "versions of a clip: the clean one and others", "", (1, 100))
    changed: float = setting(0.33, "share of the clips that have other versions", "", (0, 1))
    reverberant: float = setting(0.5, "share of the channels in a room", "", (0, 1))
    longest_reverberation: float = setting(
        0.6, "longest reverberation time (RT60); the shortest is 0.1", "s", (0.1, 10)
    )
    telephone: float = setting(0.25, "share limited to 300 to 3400 Hz", "", (0, 1))
    noisy: float = setting(0.7, "share with noise", "", (0, 1))
    lowest_snr: float = setting(
        5.0, "lowest SNR; the highest is 30. Clips differ by up to 3", "dB", (-30, 30)
    )
    gain: float = setting(20.0, "quieter by up to this, louder by up to half of it", "dB", (0, 100))

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True)
class Channel:
    """A recording channel. room: RT60 in s, 0: no room. snr: dB, inf: no noise. level: factor."""

    room: float = 0.0
    is_telephone: bool = False
    snr: float = math.inf
    level: float = 1.0

    @classmethod
    def drawn(cls, how: ChannelAugmentation, generator: np.random.Generator) -> Channel:
        """Draw a channel."""
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
        """Return a clip as recorded through the channel, (n,) at SAMPLE_RATE -> (n,) in [-1, 1]."""
        if self.room:
            samples = reverberate(samples, self.room, generator)
        if math.isfinite(self.snr):
            samples = add_noise(samples, self.snr + generator.uniform(-3, 3), generator)
        if self.is_telephone:
            samples = telephone_band(samples)
        result: NDArray[np.float32] = np.clip(samples * np.float32(self.level), -1, 1)
        return result


def telephone_band(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Limit audio to 300 to 3400 Hz, 24 dB per octave."""
    spectrum = np.fft.rfft(samples)
    hertz = np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE), 1.0)
    passed = np.minimum(1.0, hertz / 300) ** 4 * np.minimum(1.0, 3400 / hertz) ** 4
    narrow: NDArray[np.float32] = np.fft.irfft(spectrum * passed, len(samples)).astype(np.float32)
    return narrow


def no_voices(count: int, generator: np.random.Generator) -> list[NDArray[np.float32]]:
    """Return non-speech audio (negatives), 0.5 to 4 s: noise, hum, chords, coughs, a quiet room."""
    clips = []
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
        clips.append((sound * loud).astype(np.float32))
    return clips
