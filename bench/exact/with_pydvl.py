"""pyDVL in the comparison of `command.py`: in an environment of its own, it needs numpy < 2.

Its loss is the mean of (f - y)^2: the Hessian and each gradient have a factor 2, the regularisation too.
"""

from __future__ import annotations

from pydvl.influence.torch import CgInfluence, DirectInfluence
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from bench.exact.with_torch import module, rows_of
from bench.exact.worker import WARM_ROWS, Problem, serve

MOST_ITERATIONS = 200  # of block conjugate gradients


def prepare(method: str, problem: Problem):
    train, test = rows_of(problem)
    net, reg = module(problem), 2 * problem.strength
    loader = DataLoader(TensorDataset(*train), batch_size=len(problem.y))
    most = 3 if len(problem.y) <= WARM_ROWS else MOST_ITERATIONS
    make = {
        "direct": lambda: DirectInfluence(net, mse_loss, regularization=reg),
        "block_cg": lambda: CgInfluence(
            net,
            mse_loss,
            regularization=reg,
            rtol=1e-8,
            atol=1e-10,
            maxiter=most,
            solve_simultaneously=True,
        ),
    }[method]

    def work():
        return make().fit(loader).influences(*test, *train)

    return work, lambda found: -found.detach().numpy().T / 2


if __name__ == "__main__":
    serve(prepare)
