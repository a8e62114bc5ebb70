"""The segmentation network of pyannote in torch: sinc filters, convolutions, LSTM, powerset.

Implemented from its description (Bredin 2023, "pyannote.audio 2.1 speaker diarization pipeline";
Plaquet and Bredin 2023, arXiv 2310.13025; filters: Ravanelli and Bengio 2018, arXiv 1808.00158).
Shapes: B windows, n samples at 16 kHz, F = 1 + (n - FIELD) // HOP frames.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

RATE = 16_000  # Hz
DURATION = 10.0  # s, of the windows that it was trained on
CLASSES = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
"""The active voices of each class."""
FILTERS, TAPS, STRIDE = 80, 251, 10
LOWEST = 50.0  # Hz, of a filter's lower edge, and of its width
CHANNELS, KERNEL, POOL = 60, 5, 3
HIDDEN, LAYERS = 128, 4
HOP = STRIDE * POOL**3  # samples from frame to frame, 270
FIELD = 991  # samples, receptive field of a frame before the LSTM


def sinc_filters(low: Tensor, width: Tensor, angles: Tensor, taper: Tensor) -> Tensor:
    """Band-pass filters, first the cosines of all bands, then the sines: (FILTERS, 1, TAPS).

    A filter is the mean of all cosines (sines) within its band, tapered at both ends.

    Args:
        low: (FILTERS / 2, 1), Hz; how far a band's lower edge is above LOWEST.
        width: (FILTERS / 2, 1), Hz; how far a band's width is above LOWEST.
        angles: (1, TAPS // 2), 2 pi t of the taps before the middle.
        taper: (TAPS // 2,), of the taps before the middle, where it is 1.
    """
    lower = LOWEST + low.abs()
    upper = (lower + LOWEST + width.abs()).clamp(LOWEST, RATE / 2)
    scale = taper / (angles * (upper - lower))  # (FILTERS / 2, TAPS // 2)
    cosines = ((upper * angles).sin() - (lower * angles).sin()) * scale
    sines = ((lower * angles).cos() - (upper * angles).cos()) * scale
    middle = torch.ones_like(lower)
    even = torch.cat([cosines, middle, cosines.flip(1)], dim=1)
    odd = torch.cat([sines, 0 * middle, -sines.flip(1)], dim=1)
    return torch.cat([even, odd])[:, None]


class SegmentationModule(nn.Module):
    """The network with precomputed filters and the parameter layout of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.InstanceNorm1d(1, affine=True)
        sizes = [(1, FILTERS), (FILTERS, CHANNELS), (CHANNELS, CHANNELS)]
        self.convolutions = nn.ModuleList(
            [
                nn.Conv1d(*sizes[0], TAPS, stride=STRIDE, bias=False),
                *(nn.Conv1d(*size, KERNEL) for size in sizes[1:]),
            ]
        )
        self.norms = nn.ModuleList(nn.InstanceNorm1d(out, affine=True) for _, out in sizes)
        self.lstm = nn.LSTM(CHANNELS, HIDDEN, LAYERS, bidirectional=True, batch_first=True)
        self.linear = nn.ModuleList([nn.Linear(2 * HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)])
        self.classifier = nn.Linear(HIDDEN, len(CLASSES))

    def forward(self, samples: Tensor) -> Tensor:
        """samples: (B, 1, n) -> log probability of each class (B, F, len(CLASSES)).

        Convolutions and pooling have two dimensions, of which the first has size 1: ONNX Runtime's
        fast layout of convolutions exists for images only.
        """
        x = self.level(samples)[:, :, None]  # (B, 1, 1, n)
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            kernel = convolution.weight[:, :, None]
            x = functional.conv2d(x, kernel, convolution.bias, (1, *convolution.stride))
            if number == 0:
                x = functional.leaky_relu(x, -1.0)  # the absolute value, computed with convolution
            x = functional.max_pool2d(x, (1, POOL))
            x = functional.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps)
            x = functional.leaky_relu(x)
        x, _ = self.lstm(x[:, :, 0].transpose(1, 2))  # (B, F, 2 * HIDDEN)
        for linear in self.linear:
            x = functional.leaky_relu(linear(x))
        return functional.log_softmax(self.classifier(x), dim=-1)


def network_of(state: Mapping[str, Tensor]) -> SegmentationModule:
    """Return the network with the parameters of pyannote's checkpoint."""
    bank = "sincnet.conv1d.0.filterbank."
    filters = sinc_filters(
        *(state[bank + name] for name in ("low_hz_", "band_hz_", "n_", "window_"))
    )
    names = {
        "sincnet.wav_norm1d": "level",
        "sincnet.conv1d": "convolutions",
        "sincnet.norm1d": "norms",
        "lstm": "lstm",
        "linear": "linear",
        "classifier": "classifier",
    }
    renamed = {"convolutions.0.weight": filters}
    for name, value in state.items():
        old = next(old for old in names if name.startswith(old + "."))
        if not name.startswith(bank):
            renamed[names[old] + name[len(old) :]] = value
    network = SegmentationModule()
    network.load_state_dict(renamed)
    return network.eval()
