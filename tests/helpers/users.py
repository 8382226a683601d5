"""A problem of several users, and the parameters of each of its rows."""

import numpy as np

from fasttangent.problem.deviations import Deviations
from fasttangent.problem.objective import Objective
from fasttangent.problem.users_problem import UsersProblem
from helpers.problems import random_problem

STRENGTH, RATIO = 0.3, 2.5


def users_problem(sizes, layers, n_rows=90, n_users=7, threads=1, loss="huber", seed=0):
    """(problem, vector (size,), directions (2, size)): users of unequal sizes in no order, one without rows."""
    plain, theta, _ = random_problem(sizes, n_rows, loss=loss, unequal=True, seed=seed)
    rng = np.random.default_rng(seed + 1)
    of = rng.choice(n_users - 1, n_rows, p=np.arange(1, n_users) / np.arange(1, n_users).sum())
    deviations = Deviations(plain.network.layout, layers, n_users)
    objective = Objective(loss, 0.7, strength=STRENGTH, users=RATIO)
    X, Y, w = plain.rows
    problem = UsersProblem(plain.network, objective, (X, Y, w * plain.total), threads, deviations, of)
    vector = np.append(theta, 0.3 * rng.normal(size=deviations.size - len(theta)))
    return problem, vector, rng.normal(size=(2, deviations.size))


def of_row(problem, vector, i):
    """theta_u of row i."""
    theta, q = vector[: problem.deviations.n_params].copy(), len(problem.deviations.chosen)
    at = len(theta) + problem.of[i] * q
    theta[problem.deviations.chosen] += vector[at : at + q]
    return theta
