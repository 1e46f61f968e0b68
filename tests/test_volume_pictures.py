"""Pictures of volumes, matches and views: what is drawn where, in colours that a PNG keeps."""

import numpy as np
import pytest
from PIL import Image
from validation_synthetic import molecule, noisy_halves

from cryosnake.errors import BadInputError
from cryosnake.images import write_png
from cryosnake.validation.directional import directional_fsc
from cryosnake.validation.mask import spherical_mask
from cryosnake.validation.match_picture import MOST_DRAWN, draw_matches
from cryosnake.validation.orientation_picture import draw_orientations, view_density
from cryosnake.validation.orientations import sphere_points, views
from cryosnake.validation.picture_sheet import CHOSEN, OUTLINE
from cryosnake.validation.volume_picture import cut, draw_map, draw_volumes

N, PIXEL, DIAMETER = 32, 4.0, 110.0


def kept_by_png(picture, path):
    """The picture as its PNG shows it, row 0 at the bottom."""
    write_png(path, picture)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))[::-1]


def where(picture, colour):
    """(H, W) where a picture has a colour, row 0 at the top."""
    return (picture[::-1] == np.array(colour)).all(-1)


def corner_blob(z=N // 2, y=N // 2, x=N // 2):
    """A volume with one bright voxel's surroundings."""
    away = np.indices((N, N, N)) - np.array([z, y, x])[:, None, None, None]
    return np.exp(-(away**2).sum(0) / 8.0).astype(np.float32)


def tiles(picture, top, side):
    """The six pictures of a row, row 0 at the top."""
    pitch = side + 8
    shown = picture[::-1, :, 0].astype(float)
    return [shown[top : top + side, 16 + k * pitch : 16 + k * pitch + side] for k in range(6)]


def middle_of(tile):
    """(row, column) of the light in a tile, as parts of its side."""
    light = np.where(tile > 128, tile, 0.0)
    y, x = np.indices(tile.shape)
    return (
        float((light * y).sum() / light.sum() / len(tile)),
        float((light * x).sum() / light.sum() / len(tile)),
    )


# ---- volumes ----


def test_slices_and_projections_stand_as_their_names_say():
    volume = corner_blob(z=N // 2 + 8, y=N // 2 + 5, x=N // 2 - 8)
    picture = draw_volumes([volume], ["one"], PIXEL, DIAMETER, [False])
    along_z, along_y, along_x = tiles(picture, 72, 178)[3:]
    shown_px = len(cut(volume, 0.54 * DIAMETER / PIXEL))

    def up(offset_px):
        return 0.5 - offset_px / shown_px

    def right(offset_px):
        return 0.5 + offset_px / shown_px

    assert middle_of(along_z) == pytest.approx((up(5), right(-8)), abs=0.03)  # y up, x right
    assert middle_of(along_y) == pytest.approx((up(8), right(-8)), abs=0.03)  # z up, x right
    assert middle_of(along_x) == pytest.approx((up(8), right(5)), abs=0.03)  # z up, y right


def test_slices_are_through_the_centre():
    volume = corner_blob(z=N // 2 + 9)
    picture = draw_volumes([volume], ["one"], PIXEL, DIAMETER, [False])
    xy, xz, yz = tiles(picture, 72, 178)[:3]
    assert xy.max() < 0.1 * xz.max()  # it lies above that slice
    assert middle_of(xz)[0] < 0.3
    assert middle_of(yz)[0] < 0.3


def test_the_chosen_volume_is_framed_and_every_colour_is_kept(tmp_path):
    volumes = [molecule(N, seed=k) for k in range(3)]
    picture = draw_volumes(volumes, ["a", "b", "c"], PIXEL, DIAMETER, [False, True, False])
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (1140, 3)
    frame = where(picture, CHOSEN)
    rows = np.flatnonzero(frame.any(1))
    assert len(picture) / 3 < rows[0] < rows[-1] < 2.2 * len(picture) / 3
    assert np.array_equal(kept_by_png(picture, tmp_path / "a.png"), picture)
    none = draw_volumes(volumes, ["a", "b", "c"], PIXEL, DIAMETER, [False] * 3)
    assert not where(none, CHOSEN).any()


def test_volumes_that_are_flat_or_not_finite_are_drawn():
    broken = np.full((N, N, N), np.nan, np.float32)
    picture = draw_volumes([broken], ["a"], PIXEL, DIAMETER, [True])
    assert abs(tiles(picture, 72, 178)[0].mean() - 128) < 4


def test_odd_boxes_and_spheres_larger_than_the_box():
    assert cut(np.zeros((31, 31, 31)), 100.0).shape == (30, 30, 30)
    assert cut(np.zeros((32, 32, 32)), 5.2).shape == (12, 12, 12)
    volume = np.zeros((33, 33, 33), np.float32)
    volume[16, 16, 16] = 1.0
    part = cut(volume, 7.0)
    assert part[len(part) // 2, len(part) // 2, len(part) // 2] == 1.0
    draw_volumes([molecule(32)], ["a"], PIXEL, 1e4, [False])


def test_volumes_that_do_not_fit_are_told():
    volume = molecule(N)
    for volumes, titles, chosen in (
        ([], [], []),
        ([volume], ["a", "b"], [True]),
        ([volume], ["a"], [True, False]),
        ([volume[:-1]], ["a"], [True]),
        ([volume[0]], ["a"], [True]),
    ):
        with pytest.raises(BadInputError):
            draw_volumes(volumes, titles, PIXEL, DIAMETER, chosen)


# ---- the map ----


def test_the_mask_is_outlined_and_what_is_beyond_is_not_projected():
    mask = spherical_mask(N, 24.0, PIXEL, 2.0)
    outside = corner_blob(z=N // 2 + 11) + corner_blob()
    picture = draw_map(outside, mask, None, PIXEL)
    outline = where(picture, OUTLINE)
    assert 300 < outline.sum() < 6000
    assert np.flatnonzero(outline.any(0))[-1] < 1140 / 2  # on the slices alone
    along_y = tiles(picture, 46, 178)[4]
    assert middle_of(along_y) == pytest.approx((0.5, 0.5), abs=0.03)


def test_local_resolution_has_colours_from_fine_to_coarse(tmp_path):
    mask = spherical_mask(N, 40.0, PIXEL, 3.0)
    local = 5.0 + 0.5 * np.abs(np.arange(N) - N // 2)[:, None, None] * np.ones((1, N, N))
    picture = draw_map(molecule(N), mask, local.astype(np.float32), PIXEL)
    without = draw_map(molecule(N), mask, None, PIXEL)
    assert len(picture) > 1.7 * len(without)
    assert np.array_equal(kept_by_png(picture, tmp_path / "a.png"), picture)
    top = 46 + 178 + 24 + 26
    tile = picture[::-1][top : top + 178, 16 + 186 : 16 + 186 + 178].astype(int)  # xz
    middle, edge = tile[89, 89], tile[30, 89]
    assert middle[0] > 200 > edge[0]  # yellow is finest
    assert (edge[2] > edge[0]) & (edge[2] > 60)  # coarse: blue or purple
    assert np.ptp(tile[2, 2]) == 0  # nothing outside of the mask


def test_a_map_without_mask_or_local_resolution_within_it_is_drawn():
    nothing = np.zeros((N, N, N), np.float32)
    picture = draw_map(molecule(N), nothing, np.full_like(nothing, np.nan), PIXEL)
    assert not where(picture, OUTLINE).any()
    constant = np.full_like(nothing, 7.0)
    draw_map(molecule(N), spherical_mask(N, 40.0, PIXEL), constant, PIXEL)


def test_maps_of_another_size_are_told():
    with pytest.raises(BadInputError, match="one size"):
        draw_map(molecule(N), np.ones((16, 16, 16)), None, PIXEL)
    with pytest.raises(BadInputError, match="one size"):
        draw_map(molecule(N), np.ones((N, N, N)), np.ones((16, 16, 16)), PIXEL)


# ---- orientations ----


@pytest.fixture(scope="module")
def cones():
    return directional_fsc(*noisy_halves(molecule(N), 1.0), PIXEL, number=60)


def test_views_are_drawn_where_they_look_from(cones, tmp_path):
    rng = np.random.default_rng(0)
    seen = views(90.0 + rng.normal(0, 3, 800), 45.0 + rng.normal(0, 3, 800))
    picture = draw_orientations(seen, cones)
    assert np.array_equal(kept_by_png(picture, tmp_path / "a.png"), picture)
    shown = picture[::-1].astype(int)
    left, top, width = 16, 34, 351
    bright = shown[top : top + width // 2, left : left + width].sum(-1) > 480
    y, x = np.argwhere(bright).mean(0)
    # on Mollweide's map: latitude 45 degrees is 0.59 of the way up
    assert y / (width // 2) == pytest.approx(0.5 - 0.59 / 2, abs=0.05)
    assert x / width == pytest.approx(0.5 + 0.5 * 0.5 * np.cos(np.arcsin(0.59)), abs=0.05)


def test_density_is_one_for_even_views_and_holds_all_of_them():
    centres, density = view_density(sphere_points(30_000))
    assert density == pytest.approx(1.0, abs=0.1)
    _, density = view_density(np.array([[0.0, 0.0, 1.0]]))
    assert density.mean() == pytest.approx(1.0, abs=0.05)
    assert density[centres[:, 2] < 0.5].max() < 1e-3


# ---- matches ----


def matched(number, names=("class3d 1", "branch3d 1")):
    images = np.stack([molecule(N, seed=3)[k % N] for k in range(number)])
    projections = {name: images + 0.1 * k for k, name in enumerate(names)}
    correlations = {name: np.full(number, 0.9 - 0.3 * k) for k, name in enumerate(names)}
    hands = dict.fromkeys(names, "mirrored") | {names[0]: "undetermined"}
    return images, projections, correlations, hands


def drawn(number, *, chosen="class3d 1", **changes):
    images, projections, correlations, hands = matched(number)
    given = {"averages": images, "projections": projections, "correlations": correlations}
    given |= {"hands": hands} | changes
    return draw_matches(
        given["averages"],
        given["projections"],
        given["correlations"],
        PIXEL,
        diameter_angst=DIAMETER,
        hands=given["hands"],
        chosen=chosen,
    )


def test_each_average_stands_above_its_projections(tmp_path):
    picture = drawn(3)
    assert np.array_equal(kept_by_png(picture, tmp_path / "a.png"), picture)
    shown = picture[::-1, :, 0]
    side, pitch = 106, 114
    for place in range(3):
        left = 16 + 190 + place * pitch
        average = shown[34 : 34 + side, left : left + side]
        below = shown[34 + side + 8 :][:side, left : left + side]
        assert np.array_equal(average[4:-4, 4:-4], below[4:-4, 4:-4])  # within the frame


def test_the_chosen_volume_s_row_is_framed():
    first = np.flatnonzero(where(drawn(3), CHOSEN).any(1))
    second = np.flatnonzero(where(drawn(3, chosen="branch3d 1"), CHOSEN).any(1))
    assert second[0] - first[0] == pytest.approx(127, abs=3)
    assert first[-1] < second[0]


def test_many_averages_take_several_rows_and_the_rest_is_counted():
    assert len(drawn(9)) > 1.8 * len(drawn(8))
    assert len(drawn(MOST_DRAWN + 5)) == len(drawn(MOST_DRAWN))


def test_matches_that_do_not_fit_are_told():
    images, projections, correlations, _ = matched(4)
    for changes in (
        {"averages": images[:0], "projections": {n: p[:0] for n, p in projections.items()}},
        {"averages": images[:3]},
        {"correlations": {name: values[:3] for name, values in correlations.items()}},
        {"correlations": {"class3d 1": correlations["class3d 1"]}},
        {"hands": {"class3d 1": "same"}},
        {"chosen": "another"},
        {"averages": images[0]},
    ):
        with pytest.raises(BadInputError, match="averages"):
            drawn(4, **changes)
