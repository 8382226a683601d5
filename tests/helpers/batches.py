"""Batches of `select_embeddings`, and what rows gain, by their definitions."""

import numpy as np

import fasttangent as ft

SPREADING, TELLING = ("lcmd", "kmeans++", "kcenter"), ("variance", "bait", "maxdet")
OF_VECTORS = SPREADING + TELLING
NOISE = 0.3


def picked(E, k, strategy, **given):
    return ft.select_embeddings(
        E, k, strategy=strategy, noise=NOISE if strategy in TELLING else None, **given
    )


def rows_left(group, per_group, picks, n):
    """Free rows, by the definition."""
    return [i for i in range(n) if i not in picks and sum(group[j] == group[i] for j in picks) < per_group]


def left_over(E, rows, noise):
    """Mean variance of the rows of E once those have labels."""
    K = E[list(rows)]
    return np.trace(E @ np.linalg.inv(np.eye(E.shape[1]) + K.T @ K / noise) @ E.T) / len(E)


def log_det(E, rows, noise):
    K = E[list(rows)]
    return np.linalg.slogdet(np.eye(E.shape[1]) + K.T @ K / noise)[1]


def naive_gain(E, picks, i, strategy, noise=NOISE):
    if strategy == "maxdet":
        return log_det(E, [*picks, i], noise) - log_det(E, picks, noise)
    return left_over(E, picks, noise) - left_over(E, [*picks, i], noise)
