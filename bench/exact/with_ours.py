"""fasttangent in the comparison of `command.py`."""

from __future__ import annotations

import os

import numpy as np

import fasttangent as ft
from bench.exact.worker import Problem, serve
from fasttangent.problem.curvature import System
from fasttangent.problem.problem import Problem as Rows
from fasttangent.problem.scaling import identity_scaling
from fasttangent.solvers import prepare as prepare_solver


def model_of(problem: Problem) -> ft.Model:
    """A model in standard units with the parameters of the problem; its certificate is not measured."""
    network, n_outputs = ft.Network(problem.sizes, "tanh"), problem.sizes[-1]
    return ft.Model(
        network,
        ft.Objective(strength=problem.strength),
        identity_scaling(problem.sizes[0], n_outputs),
        problem.theta,
        {},
        ft.Certificate(0.0, 0.0, 1.0, 1.0, 0.0, True, ()),
        np.ones(n_outputs),
        "float64",
    )


def rows_of(problem: Problem, model: ft.Model) -> Rows:
    return model.problem(problem.X, problem.y, threads=len(os.sched_getaffinity(0)))


def prepare(method: str, problem: Problem):
    task, *option = method.split(":")
    work = {"dense": dense, "products": products, "tangent": tangent, "influence": influence}[task]
    return work(problem, *option), np.asarray


def dense(problem: Problem, kind: str):
    rows = rows_of(problem, model_of(problem))
    return lambda: System(rows, problem.theta, gauss_newton=kind == "gauss_newton").dense()


def products(problem: Problem):
    rows = rows_of(problem, model_of(problem))
    return lambda: System(rows, problem.theta).product(problem.V)


def tangent(problem: Problem, solver: str):
    rows = rows_of(problem, model_of(problem))

    def work():
        right_side = -rows.complexity_gradient(problem.theta)[None]
        return prepare_solver(System(rows, problem.theta), solver).solve(right_side).x[0]

    return work


def influence(problem: Problem, solver: str):
    """d loss(test row) / d eps of every training row: that on the prediction, times f - y."""
    model, threads = model_of(problem), len(os.sched_getaffinity(0))

    def work():
        truth = ft.exact(model, problem.X, problem.y, solver=solver, threads=threads)
        on_predictions = truth.influence_on_predictions(problem.X, problem.y, problem.X_test)
        return on_predictions * (model.predict(problem.X_test) - problem.y_test)

    return work


if __name__ == "__main__":
    serve(prepare)
