"""Nearest neighbours: by hand, and the fast way against the slow one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from limner.judging.distances import neighbours
from limner.judging.distances.neighbours import alike, distances, finite, nearest

LINE = np.array([[0.0], [1.0], [3.0], [7.0]])


def test_neighbours_on_a_line():
    found, where = nearest(np.array([[2.5], [8.0]]), LINE, 2)
    assert where.tolist() == [[2, 1], [3, 2]]
    np.testing.assert_allclose(found, [[0.5, 1.5], [1.0, 5.0]], atol=1e-12)


def test_groups_are_left_out_and_what_is_missing_is_infinite():
    groups = np.array([0, 0, 1, 1])
    found, where = nearest(LINE, LINE, 3, query_groups=groups, point_groups=groups)
    assert where.tolist() == [[2, 3, -1], [2, 3, -1], [1, 0, -1], [1, 0, -1]]
    assert found[0].tolist() == [3.0, 7.0, math.inf]
    found, where = nearest(LINE, LINE[:0], 2)
    assert np.isinf(found).all() and (where == -1).all()


def test_equal_vectors_are_at_distance_zero_far_from_the_origin():
    points = np.random.default_rng(0).normal(size=(50, 30)) + 1e4
    found, where = nearest(points, points, 1)
    assert (found == 0.0).all() and (where[:, 0] == np.arange(50)).all()


def test_chunks_and_float32_agree_with_all_differences(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(1)
    queries, points = random.normal(size=(37, 9)), random.normal(size=(53, 9))
    slow = np.linalg.norm(queries[:, None] - points, axis=2)
    monkeypatch.setattr(neighbours, "_CHUNK", 200)  # three queries at a time
    together = np.concatenate([squared for _, squared in distances(queries, points)])
    np.testing.assert_allclose(together, slow**2, rtol=1e-10)
    for limit in (0, 10**9):  # every search in float32, then none
        monkeypatch.setattr(neighbours, "_SEARCH", limit)
        found, where = nearest(queries, points, 4)
        np.testing.assert_array_equal(where, np.argsort(slow, axis=1)[:, :4])
        np.testing.assert_allclose(found, np.sort(slow, axis=1)[:, :4], rtol=1e-12)


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="2 of 3 rows"):
        finite("real", np.array([[1.0], [np.nan], [np.inf]]))
    with pytest.raises(ValueError, match=r"\[n, d\]"):
        finite("real", np.zeros(3))
    with pytest.raises(ValueError, match="real features have 1 columns, generated ones 2"):
        alike(np.zeros((2, 1)), np.zeros((2, 2)))
