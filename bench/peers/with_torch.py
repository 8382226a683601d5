"""The same work in PyTorch, written as its users would, each for speed."""

from __future__ import annotations

import torch

torch.set_num_threads(2)

ACTIVATIONS = {
    "tanh": torch.tanh,
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
}


def forward(params, X, activation: str):
    for W, b in params[:-1]:
        X = ACTIVATIONS[activation](torch.addmm(b, X, W))
    W, b = params[-1]
    return torch.addmm(b, X, W)


def tensors(case, flat):
    return tuple((torch.from_numpy(W.copy()), torch.from_numpy(b.copy())) for W, b in case.layers(flat))


def scorer(case, chunk: int, n: int | None = None):
    """d f / d strength of the first n rows by torch.func.jvp, a chunk at a time."""
    params, tangent = tensors(case, case.theta), tensors(case, case.tangents[0])
    parts = torch.from_numpy(case.X[:n]).split(chunk)
    activation = case.network.activation

    def score(x):
        return torch.func.jvp(lambda p: forward(p, x, activation), (params,), (tangent,))[1][:, 0]

    return lambda: torch.cat([score(x) for x in parts])


def gradient_scorer(case, chunk: int, n: int):
    """The same scores as influence libraries get them: gradients of single rows, then inner products."""
    params, tangent = tensors(case, case.theta), tensors(case, case.tangents[0])
    parts = torch.from_numpy(case.X[:n]).split(chunk)
    activation = case.network.activation
    gradients = torch.func.vmap(
        torch.func.grad(lambda p, x: forward(p, x[None], activation)[0, 0]), in_dims=(None, 0)
    )

    def score(x):
        total = torch.zeros(len(x), dtype=x.dtype)
        for layer, direction in zip(gradients(params, x), tangent, strict=True):
            for g, v in zip(layer, direction, strict=True):
                total += g.reshape(len(x), -1) @ v.reshape(-1)
        return total

    return lambda: torch.cat([score(x) for x in parts])


def make_epoch(task):
    """A function (order, rates) -> None: an epoch of Adam, without a tangent; and the parameters it changes."""
    params = [(W.requires_grad_(), b.requires_grad_()) for W, b in tensors(task, task.theta)]
    X, y = torch.from_numpy(task.X), torch.from_numpy(task.y)
    epsilon = 1e-8 if task.dtype == "float64" else 1e-7
    leaves = [leaf for layer in params for leaf in layer]
    optimizer = torch.optim.Adam(leaves, eps=epsilon, weight_decay=task.strength, fused=True)

    def epoch(order, rates) -> None:
        rows = torch.from_numpy(order)
        for b, rate in enumerate(rates):
            optimizer.param_groups[0]["lr"] = rate
            batch = rows[b * task.batch_size : (b + 1) * task.batch_size]
            optimizer.zero_grad(set_to_none=True)
            residual = forward(params, X[batch], task.activation)[:, 0] - y[batch]
            (0.5 * torch.mean(residual * residual)).backward()
            optimizer.step()

    return epoch, params


def flat(params):
    return torch.cat([leaf.detach().reshape(-1) for layer in params for leaf in layer]).double().numpy()
