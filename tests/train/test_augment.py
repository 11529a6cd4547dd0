"""Random affine changes move what they say, by as much as they say."""

from __future__ import annotations

import torch
from neurodeploy.train.augment import random_affine, random_crop, random_cutout, random_events, random_noise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(n: int, height: int, width: int) -> torch.Tensor:
    """Two channels that hold each pixel's y and x, as seen from the centre."""
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    return torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(n, 2, height, width)


def inside(changed: torch.Tensor) -> torch.Tensor:
    return changed[:, :, 4:-4, 4:-4]  # where no zeros have come in


def test_nothing_asked_nothing_done() -> None:
    x = torch.rand(3, 1, 8, 8)
    assert random_affine(x, 0, 0, 0, generator()) is x


def test_shift_moves_by_up_to_so_many_pixels() -> None:
    x = ramps(500, 16, 24)
    moved = inside(random_affine(x, 1.5, 0, 0, generator()) - x)
    # Bilinear interpolation of a ramp is exact, so one image moves by one number, up to float32 rounding.
    per_image = moved.mean(dim=(2, 3))
    torch.testing.assert_close(moved, per_image[:, :, None, None].expand_as(moved), rtol=0, atol=1e-4)
    for axis in (0, 1):
        assert 1.4 < per_image[:, axis].max() < 1.5001 and -1.5001 < per_image[:, axis].min() < -1.4
    assert not torch.equal(per_image[:, 0], per_image[:, 1])


def test_rotation_keeps_distances_on_images_that_are_not_square() -> None:
    x = ramps(200, 16, 24)
    turned = inside(random_affine(x, 0, 10, 0, generator()))
    # float32 rounding of coordinates up to 12.
    torch.testing.assert_close(turned.square().sum(1), inside(x).square().sum(1), rtol=1e-4, atol=1e-3)
    angle = torch.atan2(turned[:, 0], turned[:, 1]) - torch.atan2(inside(x)[:, 0], inside(x)[:, 1])
    degrees = torch.rad2deg(torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi)[:, 1, 1]
    assert 9 < degrees.max() < 10.01 and -10.01 < degrees.min() < -9


def test_zoom_scales_about_the_centre() -> None:
    x = ramps(200, 16, 24)
    factor = inside(x) / inside(random_affine(x, 0, 0, 0.2, generator()))
    assert 1.15 < factor.max() < 1.201 and 0.799 < factor.min() < 0.85


def test_zeros_come_in_and_draws_repeat() -> None:
    x = torch.ones(20, 1, 8, 8)
    changed = random_affine(x, 2, 0, 0, generator(3))
    assert changed.min() == 0 and changed.max() <= 1.0001  # weights of four neighbours sum to 1 in float32
    assert torch.equal(changed, random_affine(x, 2, 0, 0, generator(3)))
    assert not torch.equal(changed, random_affine(x, 2, 0, 0, generator(4)))


def test_noise_leaves_empty_pixels_empty_and_stays_in_range() -> None:
    x = torch.zeros(50, 1, 8, 8)
    x[:, :, 2:6] = 0.5
    noisy = random_noise(x, 0.1, generator())
    assert torch.equal(noisy[x == 0], x[x == 0])
    # 1600 pixels: the standard deviation is known to 1.8 %.
    assert abs((noisy - x)[x > 0].std() - 0.1) < 0.01
    loud = random_noise(x, 2.0, generator())
    assert loud.min() == 0 and loud.max() == 1
    assert random_noise(x, 0, generator()) is x and torch.equal(noisy, random_noise(x, 0.1, generator()))


def test_events_move_by_whole_pixels() -> None:
    x = torch.zeros(64, 3, 2, 6, 6)
    x[:, 1, 0, 2, 3] = 4
    moved = random_events(x, 2, 0.0, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape and moved.sum() == x.sum()  # two pixels from the middle: nothing leaves the map
    assert torch.equal(moved[:, [0, 2]], x[:, [0, 2]]) and not moved[:, :, 1].any()
    places = {tuple(p) for p in moved[:, 1, 0].nonzero()[:, 1:].tolist()}
    assert places <= {(y, z) for y in range(5) for z in range(1, 6)} and len(places) > 15
    edge = torch.zeros(64, 1, 1, 6, 6)
    edge[:, :, :, 0, 0] = 1
    assert 0 < random_events(edge, 1, 0.0, torch.Generator().manual_seed(0)).sum() < 64


def test_events_are_dropped_at_their_share() -> None:
    x = torch.full((8, 4, 2, 10, 10), 2.0)
    left = random_events(x, 0, 0.25, torch.Generator().manual_seed(1))
    assert set(left.unique().tolist()) == {0.0, 2.0}
    # 6,400 draws: five standard deviations of the share are 0.027
    assert abs((left == 0).double().mean() - 0.25) < 0.03
    assert random_events(x, 0, 0.0, torch.Generator()) is x
    assert torch.equal(left, random_events(x, 0, 0.25, torch.Generator().manual_seed(1)))


def test_crops_are_windows_of_the_padded_image_and_flips_mirror_them() -> None:
    x = torch.arange(1.0, 2 * 6 * 5 + 1).reshape(1, 2, 6, 5).expand(400, 2, 6, 5)
    padded = torch.nn.functional.pad(x[0], (2, 2, 2, 2))
    windows = {(dy, dx): padded[:, dy : dy + 6, dx : dx + 5] for dy in range(5) for dx in range(5)}
    expected = {(key, m): (w.flip(2) if m else w) for key, w in windows.items() for m in (False, True)}
    cropped = random_crop(x, 2, True, generator())
    seen = [next(key for key, w in expected.items() if torch.equal(w, image)) for image in cropped]
    # 400 draws of 50 equal cases: each is missed with probability 3e-4; mirrored ones 200, standard deviation 10
    assert set(seen) == set(expected) and 150 < sum(m for _, m in seen) < 250
    assert {m for (_, m) in seen if m} == {True} and torch.equal(cropped, random_crop(x, 2, True, generator()))
    assert all(any(torch.equal(image, w) for w in windows.values()) for image in random_crop(x, 2, False, generator())[:50])
    flipped = random_crop(x, 0, True, generator(1))
    assert all(torch.equal(image, x[0]) or torch.equal(image, x[0].flip(2)) for image in flipped)
    assert random_crop(x, 0, False, generator()) is x


def test_cutout_takes_a_square_about_a_pixel() -> None:
    x = torch.ones(500, 2, 8, 6)
    cut = random_cutout(x, 4, generator())
    holes = cut[:, 0] == 0
    assert torch.equal(cut[:, 0], cut[:, 1]) and holes.any((1, 2)).all()  # every image, all channels alike
    heights, widths = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(heights * widths, holes.sum((1, 2)))  # whole rectangles
    assert (heights.min(), heights.max(), widths.min(), widths.max()) == (2, 4, 2, 4)  # cut off where they leave the image
    assert holes[:, 0, 0].any() and holes[:, -1, -1].any() and random_cutout(x, 0, generator()) is x


def test_what_is_not_asked_for_draws_nothing() -> None:
    one, two = generator(), generator()
    random_cutout(random_crop(torch.ones(3, 1, 4, 4), 0, False, one), 0, one)
    assert torch.equal(one.get_state(), two.get_state())
