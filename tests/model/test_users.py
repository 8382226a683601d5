"""One network for several users: against refits of both levels, on bad input, in files, and what is not there yet."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers import quiet, relative
from helpers.command_line import refused, run

import fasttangent as ft
from fasttangent.model import infinitely_wide
from fasttangent.model.certificate import certify
from fasttangent.model.infinitely_wide import Variances, minus_log_evidence
from fasttangent.model.settling import settle
from fasttangent.problem.users_problem import UsersProblem

LEVELS = {"all": 1e-2, "users": 3e-2}


def data(n_users=6, n=60, seed=0, spread=0.4):
    """(X, y, users): a function whose gain and offset differ by the user."""
    rng = np.random.default_rng(seed)
    X, of = rng.uniform(-1, 1, (n, 2)), rng.integers(0, n_users, n)
    gain, offset = 1 + spread * rng.normal(size=n_users), spread * rng.normal(size=n_users)
    y = offset[of] + gain[of] * (np.sin(3 * X[:, 0]) + X[:, 1] ** 2) + 0.05 * rng.normal(size=n)
    return X, y, np.array([f"user {u}" for u in of])


X, Y, USERS = data()
SMALL = {"hidden": (6,), "groups": "one", "strength": LEVELS, "dtype": "float64", "epochs": 50}


@pytest.fixture(scope="module")
def model():
    kinds = ("strength", "groups", "posterior")
    return ft.fit(X, Y, users=USERS, tangents=kinds, samples=40, **SMALL)


def settled_at(problem, theta, **strengths):
    """Parameters of the minimum under other strengths of the groups."""
    strength = strengths.get("all", LEVELS["all"])
    ratio = strengths.get("users", LEVELS["users"]) / strength
    objective = replace(problem.objective, strength=strength, ratios=(), users=ratio)
    rows = problem.rows.X, problem.rows.Y, problem.rows.w * problem.total
    moved = UsersProblem(problem.network, objective, rows, 1, problem.deviations, problem.of)
    return moved, settle(moved, theta, np.zeros((0, len(theta))), np.inf, quiet).theta


def test_it_is_a_minimum_with_tangents(model):
    problem = model.problem(X, Y, users=USERS)
    assert model.certificate.trusted
    assert certify(problem, model.params, model.tangents["strength"][None]).trusted
    assert model.strengths == pytest.approx(LEVELS)
    assert list(model.strengths) == ["all", "users"]
    # what the shared last layer is pulled by, its users pull together
    shared, own = problem.deviations.split(model.params[None])
    pulled = LEVELS["users"] * problem.deviations.ratios * own[0].sum(axis=0)
    assert relative(pulled, LEVELS["all"] * shared[0, problem.deviations.chosen]) <= 1e-8


@pytest.mark.parametrize("group", LEVELS)
def test_tangents_are_those_of_refits_of_both_levels(model, group):
    problem, h = model.problem(X, Y, users=USERS), 1e-5 * LEVELS[group]
    up, down = (settled_at(problem, model.params, **{group: LEVELS[group] + sign * h})[1] for sign in (1, -1))
    number = list(LEVELS).index(group)
    assert relative((up - down) / (2 * h), model.tangents["groups"][number]) <= 1e-6
    slope = problem.predictions(up) - problem.predictions(down)
    expected = model.scaling.changes(slope)[:, 0] / (2 * h)
    assert relative(model.sensitivity(X, group=group, users=USERS), expected) <= 1e-6
    ratios = np.array([*LEVELS.values()]) / model.objective.strength
    assert relative(ratios @ model.tangents["groups"], model.tangents["strength"]) <= 1e-8


def test_influence_says_what_a_row_does_to_either_level(model):
    problem, x, y, user = model.problem(X, Y, users=USERS), [[0.3, -0.8]], [2.5], "user 2"
    near = model.scaling.near_inputs("X", np.array(x)), model.scaling.near_targets("y", np.array([y]))
    inputs, labels = np.vstack([problem.rows.X, near[0]]), np.vstack([problem.rows.Y, near[1]])

    def with_row(eps):
        w = np.append(problem.rows.w, eps)
        objective = replace(model.objective, strength=model.objective.strength / w.sum())
        of = np.append(problem.of, 2)
        moved = UsersProblem(model.network, objective, (inputs, labels, w), 1, problem.deviations, of)
        return settle(moved, model.params, np.zeros((0, len(model.params))), np.inf, quiet).theta

    ratios = np.append(np.ones(problem.deviations.n_params), np.tile(problem.deviations.ratios, 6))
    once, twice, p = with_row(1e-5), with_row(2e-5), problem.deviations.n_params
    for group, part in (("all", slice(0, p)), ("users", slice(p, None))):
        at = [0.5 * np.sum((ratios * theta**2)[part]) for theta in (model.params, once, twice)]
        change = (4 * at[1] - at[2] - 3 * at[0]) / 2e-5
        assert model.influence(x, y, group=group, users=user)[0] == pytest.approx(change, rel=1e-5)
    s = model.sensitivity(x, group="users", users=user) / model.scaling.y_scale
    assert model.curiosity(x, group="users", users=user) == pytest.approx(
        model.slope_squared * s**2, rel=1e-12
    )


def test_rows_get_the_parameters_of_their_users(model):
    mixed, who = X[:20], USERS[:20]
    for one in np.unique(who):
        mine, alone = who == one, model.of_user(one)
        assert alone.users is None
        assert np.array_equal(model.predict(mixed, users=who)[mine], alone.predict(mixed[mine]))
        both = model.predict(mixed, users=who, return_std=True), alone.predict(mixed[mine], return_std=True)
        assert np.array_equal(both[0][1][mine], both[1][1])
        assert np.array_equal(model.score(mixed, users=who)[2][mine], alone.score(mixed[mine])[2])
        assert np.array_equal(model.embed(mixed, users=who)[mine], alone.embed(mixed[mine]))
        drawn = model.posterior(mixed, 3, users=who)[:, mine]
        assert np.array_equal(drawn, alone.posterior(mixed[mine], 3))
    assert np.array_equal(model.predict(mixed, users="user 1"), model.of_user("user 1").predict(mixed))
    assert np.array_equal(model.predict(mixed), model.shared.predict(mixed))
    assert np.array_equal(model.sensitivity(mixed), model.shared.sensitivity(mixed))
    assert np.array_equal(model.embed(mixed), model.shared.embed(mixed))
    assert model.predict(mixed[:0], users=[]).shape == (0,)
    problem = model.problem(X, Y, users=USERS)
    expected = model.scaling.predictions(problem.predictions(model.params))[:, 0]
    assert relative(model.predict(X, users=USERS), expected) <= 1e-12


def test_tangents_of_noise_are_of_the_posterior_of_both_levels(model):
    problem = model.problem(X, Y, users=USERS)
    J = problem.jacobian(model.params)[:, 0]
    A = J.T @ (problem.rows.w[:, None] * J) + np.diag(problem.objective.strength * problem.mask)
    pull = problem.objective.strength * problem.complexity_gradient(model.params)
    assert relative(model.tangents["bias"], np.linalg.solve(A, pull)) <= 1e-8
    drawn = model.with_posterior(X, Y, users=USERS, samples=3000)
    exact = drawn.noise / problem.total * np.einsum("ip,pq,iq->i", J, np.linalg.inv(A), J)
    variance = np.var(drawn.posterior(X, users=USERS), axis=0) / model.scaling.y_scale**2
    assert np.mean(variance) == pytest.approx(np.mean(exact), rel=0.05)


def test_users_held_tight_have_the_shared_model():
    levels = {"all": 1e-2, "users": 1e6}
    tight = ft.fit(X, Y, users=USERS, **SMALL | {"strength": levels})
    assert relative(tight.predict(X, users=USERS), tight.predict(X)) <= 1e-6
    plain, theta = tight.shared.problem(X, Y), tight.shared.params
    _, gradient = plain.value_and_gradient(theta)
    pull = plain.objective.strength * plain.complexity_gradient(theta)
    assert np.linalg.norm(gradient) <= 1e-5 * np.linalg.norm(pull)


def test_one_user_shares_with_itself():
    one = ft.fit(X, Y, users=["me"] * len(X), **SMALL)
    every = one.users.deviations(one.network.layout)
    theta, (own,) = every.split(one.params[None])
    assert relative(LEVELS["users"] * every.ratios * own[0], LEVELS["all"] * theta[0, every.chosen]) <= 1e-8


def test_names_order_and_threads():
    found = [ft.fit(X, Y, users=USERS, threads=threads, **SMALL) for threads in (1, 3)]
    numbers = np.array([int(name.split()[1]) for name in USERS])
    found.append(ft.fit(X, Y, users=numbers, **SMALL))
    for other in found[1:]:
        assert np.array_equal(found[0].params, other.params)
    assert found[2].users.ids == tuple(range(6))
    back = ft.fit(X, Y, users=5 - numbers, **SMALL)  # other sums, the same minimum but for rounding
    assert relative(back.predict(X, users=5 - numbers), found[0].predict(X, users=USERS)) <= 1e-8


@pytest.mark.parametrize("layers", [(0,), (0, 1)])
def test_other_layers(layers):
    model = ft.fit(X, Y, users=USERS, user_layers=layers, **SMALL)
    assert model.certificate.trusted
    sizes = {(0,): 18, (0, 1): 25}
    assert len(model.params) == 25 + 6 * sizes[layers]
    assert model.users.layers == layers


@pytest.mark.parametrize("activation", ["silu", "identity"])
def test_other_activations_and_losses(activation):
    hidden = () if activation == "identity" else (6,)
    model = ft.fit(X, Y, users=USERS, **SMALL | {"hidden": hidden}, activation=activation, loss="huber")
    assert model.certificate.trusted


def test_several_outputs_and_weights():
    w = np.where(USERS == "user 3", 0.0, 2.0)
    model = ft.fit(X, np.column_stack([Y, -Y]), users=USERS, sample_weight=w, **SMALL)
    assert model.certificate.trusted
    assert model.users.ids == tuple(f"user {u}" for u in (0, 1, 2, 4, 5))
    both = model.predict(X, users=np.where(w > 0, USERS, "user 0"))
    assert relative(both[:, 0], -both[:, 1]) <= 1e-6


def test_as_many_users_as_rows():
    model = ft.fit(X, Y, users=np.arange(len(X)), **SMALL)
    assert model.certificate.trusted
    assert len(model.users.ids) == len(X)
    error = np.abs(model.predict(X, users=np.arange(len(X))) - Y)
    assert error.mean() < np.abs(model.predict(X) - Y).mean()


def test_strengths_of_both_levels_are_learned():
    settings = {"hidden": (8,), "epochs": 50}
    differ = ft.fit(X, Y, users=USERS, **settings)
    alike = ft.fit(*data(spread=0.0)[:2], users=USERS, **settings)
    assert differ.certificate.trusted
    assert differ.path is not None
    shares = [one.strengths["users"] / one.strengths["weights 2"] for one in (differ, alike)]
    assert shares[0] < 0.2 * shares[1]
    many = data(n=3300)
    levels = ft.fit(many[0], many[1], users=many[2], settle=False, **settings).strengths
    assert set(levels) - {"users"} == set(alike.strengths) - {"users"}
    assert levels["x0"] == pytest.approx(3 / 3300)
    assert 1e-5 < levels["users"] < 1e-1


def test_evidence_of_the_infinitely_wide_network_has_the_derivatives_it_says():
    rng = np.random.default_rng(0)
    rows, labels, w = rng.normal(size=(20, 3)), rng.normal(size=(20, 2)), rng.uniform(0.5, 2, 20)
    same = (of := rng.integers(0, 4, 20))[:, None] == of
    logs = np.array([-1.0, 0.3, -0.5, 0.2, 0.6, -1.5, -0.7])

    def value(logs, kernel):
        return minus_log_evidence(Variances(logs[:3], *logs[3:]), rows, labels, w, kernel, same)

    for kernel in infinitely_wide.KERNELS:
        _, gradient = value(logs, kernel)
        for j, step in enumerate(1e-5 * np.eye(7)):
            slope = (value(logs + step, kernel)[0] - value(logs - step, kernel)[0]) / 2e-5
            assert gradient[j] == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_users_that_were_not_seen_get_the_shared_model_and_one_warning(model):
    who = ["user 1", "nobody", "no one", "user 1"]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found, _ = model.predict(X[:4], users=who, return_std=True)
    assert [str(one.message) for one in told] == [
        "users has 2 ids that the model was not fitted on ('no one', ...): their rows get the shared model"
    ]
    assert np.array_equal(found[1:3], model.predict(X[1:3]))
    assert np.array_equal(found[[0, 3]], model.of_user("user 1").predict(X[[0, 3]]))


@pytest.mark.parametrize(
    ("users", "error", "message"),
    [
        (USERS[:5], ValueError, r"users must have shape \(60,\), an id for each row of X, got shape \(5,\)"),
        ([*USERS[:59], None], ValueError, "users must have an id in every row, got None in row 59"),
        (
            np.append(np.zeros(59), np.nan),
            ValueError,
            "users must have an id in every row, got nan in row 59",
        ),
        ([*USERS[:59], 3], TypeError, "one kind for all rows, got int, str"),
        (np.full(60, 0.5), TypeError, "users must be whole numbers or text"),
        (np.ones(60, bool), TypeError, "users must be whole numbers or text"),
        (np.ones((60, 2)), ValueError, r"got shape \(60, 2\)"),
    ],
)
def test_bad_ids(users, error, message, model):
    with pytest.raises(error, match=message):
        ft.fit(X, Y, users=users, **SMALL)
    with pytest.raises(error, match=message):
        model.predict(X, users=users)


@pytest.mark.parametrize(
    "kind", [list, np.array, lambda ids: np.array(ids, object), lambda ids: np.array(ids, float)]
)
def test_ids_of_several_kinds_are_the_same(kind):
    ids = [3, 1, 2] * 20
    assert ft.fit(X, Y, users=kind(ids), **SMALL | {"settle": False}).users.ids == (1, 2, 3)


def test_what_takes_no_users_says_so(model, tmp_path):
    plain = ft.fit(X, Y, **SMALL | {"strength": 1e-2, "settle": False})
    for call, message in [
        (lambda: ft.fit(X, Y, users=USERS, members=2, **SMALL), "members must be 1 with users"),
        (lambda: ft.fit(X, Y, users=USERS, start=model, **SMALL), "start=model.shared"),
        (lambda: ft.fit(X, Y, user_layers=(0,)), "user_layers must be left out without users"),
        (
            lambda: ft.fit(X, Y, users=USERS, user_layers=(2,), **SMALL),
            "user_layers must be numbers of the 2",
        ),
        (lambda: ft.fit(X, Y, users=USERS, **SMALL | {"strength": {"all": 1.0}}), "none for 'users'"),
        (lambda: plain.predict(X, users=USERS), "fitted with users="),
        (lambda: plain.of_user("user 1"), "the model has no users"),
        (lambda: model.of_user("nobody"), "user must be one of the 6"),
        (lambda: model.problem(X, Y), "need users=, whose they are"),
        (lambda: ft.exact(model, X, Y), "cannot be taken yet"),
        (lambda: ft.settle(model, X, Y), "need users="),
        (lambda: model.with_posterior(X), "y must be given"),
        (lambda: model.embed(X, "gradient", users=USERS), "'gradient' with users"),
        (model.to_torch, "model.shared"),
        (model.to_sklearn, "model.shared"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_problem_has_no_room_for_users_that_were_not_seen(model):
    with (
        pytest.warns(UserWarning, match="not fitted on"),
        pytest.raises(
            ValueError, match="users must be ones that the model was fitted on, got another in row 0"
        ),
    ):
        model.problem(X, Y, users="nobody")


def test_settles_again(model):
    again = ft.settle(model, X, Y, users=USERS, strength=0.02)
    assert again.certificate.trusted
    assert again.strengths["users"] == pytest.approx(3 * again.strengths["all"])
    assert again.settings.strength == pytest.approx(again.strengths)


def test_batches_are_chosen_for_what_is_shared_or_for_a_user(model):
    pool = np.random.default_rng(5).uniform(-1, 1, (200, 2))
    shared = ft.select(model, pool, 5).indices
    assert np.array_equal(shared, ft.select(model.shared, pool, 5).indices)
    assert len(ft.select(model.of_user("user 0"), pool, 5).indices) == 5


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 3, "'format' must be"),
        (("users",), None, "'users' of the header must be a record"),
        (("users", "ids"), [1, 2, 2], "'ids' of users must be a list of different"),
        (("users", "ids"), [1, "b"], "'ids' of users must be a list of different"),
        (("users", "ids"), [], "'ids' of users must be a list of different"),
        (("users", "ids"), ["a"], "params"),
        (("users", "layers"), [2], "'layers' of users must be numbers up to 1"),
        (("users", "layers"), [1, 0], "'layers' of users must be numbers up to 1, ascending"),
        (("users", "others"), 1, "others"),
        (("objective", "users"), 0, "'users' of objective"),
    ],
)
def test_files_that_say_what_no_model_says(model, tmp_path, path, value, message):
    model.save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as file:
        entries = dict(file)
    header = json.loads(bytes(entries["fasttangent"]))
    record = header
    for name in path[:-1]:
        record = record[name]
    record[path[-1]] = value
    np.savez(
        tmp_path / "n.npz", **entries | {"fasttangent": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    )
    with pytest.raises(ft.ModelFileError, match=message):
        ft.load(tmp_path / "n.npz")
    del header["users"]
    np.savez(
        tmp_path / "n.npz", **entries | {"fasttangent": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    )
    with pytest.raises(ft.ModelFileError, match="users"):
        ft.load(tmp_path / "n.npz")


def test_the_command_line_tells_of_users_and_scores_none(model, tmp_path):
    path, pool, scores = tmp_path / "m.npz", tmp_path / "pool.csv", tmp_path / "s.csv"
    model.save(path)
    np.savetxt(pool, X, delimiter=",")
    assert "users" in run("info", path).stdout
    for command in (("score", path, pool, "-o", scores), ("select", path, pool, "-k", 2, "-o", scores)):
        assert "is a model with 6 users" in refused(*command, code=1)
    model.shared.save(path)
    run("score", path, pool, "-o", scores)


def test_files(model, tmp_path):
    model.save(tmp_path / "m.npz")
    again = ft.load(tmp_path / "m.npz")
    assert again.users == model.users
    assert again.settings == model.settings
    assert again.objective == model.objective
    assert np.array_equal(again.predict(X, users=USERS), model.predict(X, users=USERS))
    numbered = ft.fit(X, Y, users=np.arange(60) % 3, user_layers=(0, -1), **SMALL)
    numbered.save(tmp_path / "n.npz")
    again = ft.load(tmp_path / "n.npz")
    assert again.users == numbered.users
    assert again.settings == numbered.settings
    assert again.summary()["users"] == 3
    plain = ft.fit(X, Y, **SMALL | {"strength": 1e-2, "settle": False})
    plain.save(tmp_path / "p.npz")
    header = bytes(np.load(tmp_path / "p.npz")["fasttangent"]).decode()
    assert "user" not in header  # so that older versions read it
