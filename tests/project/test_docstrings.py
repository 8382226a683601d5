"""The examples in docstrings are run, and every public name has one."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path

import pytest

import fasttangent as ft

MODULES = [m.name for m in pkgutil.walk_packages(ft.__path__, "fasttangent.")]
WRITTEN = {name for name in MODULES if ">>> " in Path(importlib.util.find_spec(name).origin).read_text()}


def test_packages_are_walked():
    assert {"fasttangent.model.fit", "fasttangent.active.loop.learner"} <= WRITTEN


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS, verbose=False)
    assert result.failed == 0
    assert result.attempted > 0


WITH_EXAMPLES = (
    "ActiveLearner fit fit_many load select Network exact refit refit_curves agreement Change unlearn fidelity "
    "learning_loss fit_with_learning_loss loss_ranking"
)


@pytest.mark.parametrize("name", WITH_EXAMPLES.split())
def test_public_functions_have_examples(name):
    thing = getattr(ft, name)
    examples = doctest.DocTestFinder().find(thing, name)
    assert any(test.examples for test in examples)


@pytest.mark.parametrize("name", [n for n in ft.__all__ if n != "__version__"])
def test_public_names_are_documented(name):
    thing = getattr(ft, name)
    assert inspect.getdoc(thing)
    members = inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else []
    for member, function in members:
        if not member.startswith("_") and function.__module__.startswith("fasttangent"):
            assert inspect.getdoc(function), f"{name}.{member}"


@pytest.mark.parametrize(
    "function",
    [
        "fit",
        "select",
        "learning_loss",
        "Model.predict",
        "Model.influence",
        "Model.curiosity",
        "Model.embed",
    ],
)
def test_every_parameter_is_described(function):
    thing = ft
    for part in function.split("."):
        thing = getattr(thing, part)
    described = inspect.getdoc(thing).split("Parameters\n")[1].split("\nReturns\n")[0]
    names = {
        n.strip() for line in described.splitlines() if " : " in line for n in line.split(" : ")[0].split(",")
    }
    assert set(inspect.signature(thing).parameters) - {"self"} == names
