"""Faces come back to where they were, without a seam, and nothing else changes."""

import cv2
import numpy as np
import pytest

from ggt_hub.images import read_image
from ggt_hub.pipelines.faces import Alignment, align, colours_of, cut_out, paste
from tests.pipelines.faces.scenes import BOX, POINTS, portrait

FRAME = np.array(
    [
        (192.98138, 239.94708),
        (318.90277, 240.1936),
        (256.63416, 314.01935),
        (201.26117, 371.41043),
        (313.08905, 371.15118),
    ]
)


def test_points_of_the_published_frame_stay_where_they_are() -> None:
    alignment = align(FRAME, 512)
    assert alignment is not None
    assert np.allclose(alignment.matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-6)


def test_a_turned_and_enlarged_face_is_brought_back() -> None:
    turn = cv2.getRotationMatrix2D((100, 50), 30, 2.0)
    alignment = align(FRAME @ turn[:, :2].T + turn[:, 2], 512)
    assert alignment is not None
    assert np.allclose(alignment.matrix, cv2.invertAffineTransform(turn), atol=1e-6)
    assert alignment.scale == pytest.approx(0.5)
    assert np.allclose(alignment.back(FRAME), FRAME @ turn[:, :2].T + turn[:, 2], atol=1e-3)


def test_one_point_that_is_wrong_does_not_move_the_others() -> None:
    """The least median of squares: a corner of the mouth behind a hand."""
    wrong = FRAME.copy()
    wrong[4] += (60, -40)
    alignment = align(wrong, 512)
    assert alignment is not None
    # A least-squares fit is 20 pixels off.
    assert np.abs(FRAME[:4] - FRAME[:4] @ alignment.matrix[:, :2].T - alignment.matrix[:, 2]).max() < 1


def test_a_frame_of_another_side_is_the_same_frame_smaller() -> None:
    alignment = align(FRAME, 128)
    assert alignment is not None
    # Middles of pixels: 512 of them lie in four times as many places.
    assert np.allclose(alignment.matrix, [[0.25, 0, -0.375], [0, 0.25, -0.375]], atol=1e-6)


def test_points_in_one_place_are_no_face() -> None:
    assert align(np.full((5, 2), 7.0), 512) is None


def test_the_alignment_of_an_enlarged_photograph_sees_the_same() -> None:
    alignment = align(POINTS, 512)
    assert alignment is not None
    for factor in (2, 3):
        large = alignment.enlarged(factor).matrix @ [*(factor * (POINTS[0] + 0.5) - 0.5), 1]
        assert np.allclose(large, alignment.matrix @ [*POINTS[0], 1])


def test_beyond_the_photograph_the_frame_is_the_published_grey() -> None:
    corner = np.full((600, 600, 3), 255, np.uint8)
    cut = cut_out(read_image(corner), Alignment(np.array([[1.0, 0, 100], [0, 1.0, 0]]), 512))
    assert np.allclose(cut[:, :99] * 255, (132, 133, 135))
    assert (cut[:, 100:] == 1).all()
    far = cut_out(read_image(corner), Alignment(np.array([[1.0, 0, 2000], [0, 1.0, 0]]), 512))
    assert np.allclose(far * 255, (132, 133, 135))


@pytest.mark.parametrize(("scale", "most"), [(0.25, 6.5), (1, 3.5), (5, 1.5)])
def test_a_face_that_was_not_changed_comes_back(scale: float, most: float) -> None:
    """At most so many levels of 255, root mean square, for faces of 27, 108 and 540 pixels.

    That is what two interpolations leave, and the blur before the restored face is made smaller (without that blur,
    which keeps it from shimmering, 1.0 to 1.7).
    """
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    photograph = cv2.resize(portrait(), None, fx=scale, fy=scale, interpolation=way)
    points = scale * (POINTS + 0.5) - 0.5
    alignment, picture = align(points, 512), read_image(photograph)
    assert alignment is not None
    result = picture.rgb()
    paste(result, cut_out(picture, alignment), alignment)
    left, top, right, bottom = (round(scale * edge) for edge in BOX)
    change = 255 * (result - picture.rgb())
    assert np.sqrt((change[top:bottom, left:right] ** 2).mean()) < most
    if scale < 1:
        return
    # Nor is it moved; half a pixel is what slips of the middles of pixels would be.
    flow, _ = cv2.phaseCorrelate(
        result[top:bottom, left:right].mean(axis=2).astype(float),
        picture.rgb()[top:bottom, left:right].mean(axis=2).astype(float),
    )
    assert max(map(abs, flow)) < 0.05


def test_outside_of_the_frame_nothing_changes_and_there_is_no_seam() -> None:
    """A white face on black: from outside to inside there is no step larger than the mask's own slope."""
    alignment = align(POINTS, 512)
    assert alignment is not None
    photograph = np.zeros((512, 512, 3), np.float32)
    paste(photograph, np.ones((512, 512, 3), np.float32), alignment)
    inverse = cv2.invertAffineTransform(alignment.matrix)
    inside = cv2.fillConvexPoly(
        np.zeros((512, 512), np.uint8),
        np.rint([inverse @ (x, y, 1) for x, y in ((0, 0), (511, 0), (511, 511), (0, 511))]).astype(np.int32),
        1,
    )
    assert (photograph[inside == 0] == 0).all()
    assert (photograph[120, 225] == 1).all()  # the nose
    # Smoothstep rises by at most 1.5 / (0.1 * side); a frame's side is 512 / 3 pixels here.
    slope = 1.5 / (0.1 * 512 / alignment.scale)
    for axis in (0, 1):
        assert np.abs(np.diff(photograph, axis=axis)).max() < 1.3 * slope  # across a corner of two edges


def test_at_the_border_of_the_photograph_the_face_reaches_the_border() -> None:
    """No row is left of the old face, and none turns grey: the published filling is not pasted."""
    picture = np.ascontiguousarray(portrait()[:, 202:])
    alignment = align(POINTS - (202, 0), 512)
    assert alignment is not None
    result = read_image(picture).rgb()
    paste(result, cut_out(read_image(picture), alignment), alignment)
    change = 255 * np.abs(result - read_image(picture).rgb())[90:150, :2]
    assert change.mean() < 3


def test_a_face_beside_the_photograph_changes_nothing() -> None:
    photograph = np.zeros((20, 20, 3), np.float32)
    paste(photograph, np.ones((64, 64, 3), np.float32), Alignment(np.array([[1.0, 0, 500], [0, 1.0, 0]]), 64))
    assert (photograph == 0).all()


def test_black_and_white_faces_stay_so_with_their_tint() -> None:
    rng = np.random.default_rng(0)
    grey = rng.uniform(0.2, 0.7, (64, 64, 1)).astype(np.float32)
    sepia = grey * 0.9 + np.array([0.1, 0.05, 0], np.float32)
    restored = rng.uniform(0.1, 0.9, (64, 64, 3)).astype(np.float32)
    result = colours_of(restored, sepia)
    assert np.allclose(result.mean(axis=(0, 1)), sepia.mean(axis=(0, 1)), atol=1e-3)
    assert np.allclose(result.std(axis=(0, 1)), sepia.std(axis=(0, 1)), atol=1e-3)
    assert np.ptp(result - np.roll(result, 1, axis=2), axis=(0, 1)).max() < 1e-5  # one tint everywhere
    coloured = rng.uniform(0.1, 0.9, (64, 64, 3)).astype(np.float32)
    assert colours_of(restored, coloured) is restored
