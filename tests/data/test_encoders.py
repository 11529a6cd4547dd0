"""Direct repeats, rate spreads floor(T * x) spikes evenly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neurodeploy import data
from neurodeploy.errors import UsageError


def test_direct_repeats_the_image():
    images = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 1, 2, 3)
    sequence = data.encode(images, "direct", 3)
    assert sequence.shape == (3, 2, 1, 2, 3) and sequence.dtype == np.float32
    assert all(np.array_equal(step, images) for step in sequence)


def test_rate_by_hand():
    images = np.array([0.0, 0.25, 0.75, 1.0], dtype=np.float32).reshape(1, 1, 1, 4)
    # floor of 0.75, 1.5, 2.25, 3.0 is 0, 1, 2, 3: spikes at steps 1, 2 and 3.
    expected = [[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]
    assert data.encode(images, "rate", 4).reshape(4, 4).tolist() == expected


@given(level=st.integers(0, 255), n_timesteps=st.integers(1, 64))
def test_rate_emits_floor_of_t_x_binary_spikes(level, n_timesteps):
    image = np.full((1, 1, 1, 1), level / 255, dtype=np.float32)
    spikes = data.encode(image, "rate", n_timesteps).ravel()
    assert set(spikes.tolist()) <= {0.0, 1.0}
    assert spikes.sum() == np.floor(np.float32(n_timesteps) * image.item())


def test_digits_spike_under_rate_coding():
    x, _ = data.load("digits").split("validation")
    spikes = data.encode(x, "rate", 4)
    assert spikes.sum() == np.floor(4 * x).sum() > 0
    assert np.array_equal(spikes, data.encode(x, "rate", 4))


@pytest.mark.parametrize(
    ("images", "encoding", "n_timesteps", "message"),
    [
        (np.zeros((1, 1, 2, 2)), "latency", 4, "direct, rate"),
        (np.zeros((1, 1, 2, 2)), "direct", 0, "at least 1"),
        (np.zeros((1, 2, 2)), "direct", 1, r"B, C, H, W"),
        (np.zeros((1, 1, 2, 2), np.uint8), "rate", 1, "uint8"),
        (np.full((1, 1, 2, 2), 1.25), "rate", 1, "0..1"),
        (np.full((1, 1, 2, 2), np.nan), "rate", 1, "0..1"),
    ],
)
def test_wrong_requests_are_refused(images, encoding, n_timesteps, message):
    with pytest.raises(UsageError, match=message):
        data.encode(images, encoding, n_timesteps)
