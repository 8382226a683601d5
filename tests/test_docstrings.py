"""The examples in docstrings are run, and every public name has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import fasttangent as ft

EDGES = {"__main__", "demo", "plots"}  # run when imported, or draw
MODULES = [m.name for m in pkgutil.iter_modules(ft.__path__) if m.name not in EDGES]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"fasttangent.{name}")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS, verbose=False)
    assert result.failed == 0


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
