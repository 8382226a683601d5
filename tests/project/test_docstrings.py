"""The examples in docstrings are run, and every public name has one."""

import doctest
import functools
import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path

import pytest
from numpydoc.validate import validate

import fasttangent as ft
from fasttangent.sklearn import TangentRegressor

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
    "learning_loss fit_with_learning_loss loss_ranking Perturbation jackknife Members "
    "from_arrays settle select_embeddings"
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


# Their words say what they take, without a section for it.  No name is to be added; one that is mended goes.
WITHOUT_SECTIONS = [
    "ActiveLearner.curve",
    "Exact.leverage",
    "ActiveLearner.run",
    "ActiveLearner.retry",
    "Change.times",
    "Exact.sensitivity",
    "Exact.influence_on_loss",
    "Exact.self_influence",
    "LossHead.score",
    "Network.initial_params",
    "Objective.mask",
    "Refits.agreement",
    "agreement",
]
NEEDED = {
    "GL08": "a docstring",
    "SS01": "a summary",
    "SS03": "a full stop after the summary",
    "PR01": "all parameters",
    "PR02": "only parameters that there are",
    "PR03": "parameters in their order",
    "PR10": "a space before the colon",
}


def public_functions():
    """Functions of ``fasttangent.__all__``, methods of its classes and of the estimator, those of Dask; by name."""
    for name in sorted(set(ft.__all__) - {"__version__"}):
        thing = getattr(ft, name)
        if inspect.isfunction(thing):
            yield name
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            if inspect.isfunction(value) and not member.startswith("_"):
                yield f"{name}.{member}"
    for member, value in vars(TangentRegressor).items():
        if inspect.isfunction(value) and not member.startswith("_"):
            yield f"sklearn.TangentRegressor.{member}"
    yield from (f"dask.{name}" for name in ft.dask.__all__)


def faults(name):
    """What numpydoc finds missing or wrong, of what we hold needed."""
    report = validate(f"fasttangent.{name}")
    found = {code: text for code, text in report["errors"] if code in NEEDED}
    function = functools.reduce(getattr, name.split("."), ft)
    returns = inspect.signature(function).return_annotation
    sentence_only = len(inspect.getdoc(function).split("\n\n")) == 1
    if "RT01" in dict(report["errors"]) and returns not in (None, "None") and not sentence_only:
        found["RT01"] = "what it returns"
    return found


@pytest.mark.parametrize("name", list(public_functions()))
def test_parameters_and_results_are_described(name):
    """Every parameter, in order and by its name; the result, unless one sentence says all there is to say."""
    if name in WITHOUT_SECTIONS:
        assert faults(name), f"{name} is mended: take it off WITHOUT_SECTIONS"
    else:
        assert not faults(name)


def test_docstrings_are_told_from_good_ones():
    def wrong(a, b):
        """Add.

        Parameters
        ----------
        b : int
            One.
        c : int
            Another.
        """

    ft.wrong = wrong
    try:
        assert {"PR01", "PR02"} <= faults("wrong").keys()
    finally:
        del ft.wrong
