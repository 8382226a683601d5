"""`threads=` bounds the processors, those that BLAS takes as well, and no number of threads changes a bit.

How many threads of our own work at once is tested with `common.parallel`.
"""

import ast
import json
from itertools import zip_longest
from pathlib import Path

import pytest
from helpers import side_by_side

import fasttangent

PACKAGE = Path(fasttangent.__file__).parent
CALLS = Path(__file__).parents[1] / "helpers" / "public_calls.py"
FEW = (
    "score",
    "select error",
    "select bait",
    "select lcmd",
    "exact spectrum",
    "exact block-cg ny",
    "exact re",
)
SOME = pytest.param([(1, 2), (4, 1)], FEW, 8, id="some")
ALL = pytest.param([(1, 1), (2, 2), (4, 1)], (), 60, id="all", marks=pytest.mark.slow)


@pytest.mark.parametrize(("threads", "calls", "least"), [SOME, ALL])
def test_no_call_wakes_threads_of_blas_or_depends_on_them(threads, calls, least):
    """For so many threads that BLAS may use, and of ours."""
    texts = side_by_side([[str(CALLS), str(blas), str(ours), *calls] for blas, ours in threads])
    unheld, *found = zip_longest(*([json.loads(line) for line in text.splitlines()] for text in texts))
    assert unheld[-1][2] > 0, "threads of BLAS are not seen at work"
    assert len(found) > least
    for reports in found:
        name, digest, _, _ = reports[0]
        assert [[name, digest, 0, [blas]] for blas, _ in threads] == list(reports)


# ---- where BLAS may be called ----

PLAIN = {"norm", "LinAlgError"}  # of np.linalg; norm with an axis, which is a sum of squares
SHARED = {
    "dot",
    "vdot",
    "inner",
    "matmul",
    "tensordot",
    "corrcoef",
    "cov",
    "polyfit",
    "roots",
}  # of NumPy itself


def calls_blas(node, names):
    """Whether a node of a syntax tree reaches BLAS or LAPACK; `names` are those imported from SciPy's linalg."""
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return isinstance(node.op, ast.MatMult)
    if not isinstance(node, ast.Call):
        return False
    words = {keyword.arg for keyword in node.keywords}
    match node.func:
        case ast.Name(name):
            return name in names
        case ast.Attribute(ast.Attribute(ast.Name("np"), "linalg"), name):
            return name not in PLAIN or (name == "norm" and "axis" not in words)
        case ast.Attribute(_, "einsum"):
            return "optimize" in words
        case ast.Attribute(_, name):
            return name in SHARED
    return False


def from_linalg(tree):
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("scipy.linalg", "scipy.sparse.linalg"):
            found |= {alias.asname or alias.name for alias in node.names}
    return found - {"LinearOperator", "ArpackNoConvergence"}


def unheld(tree):
    """Lines that call BLAS outside of ``with one_thread():``."""
    names = from_linalg(tree)

    def within(node, held):
        if isinstance(node, ast.With):
            held |= any("one_thread" in ast.dump(item.context_expr) for item in node.items)
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            held = False  # called who knows where
        if not held and calls_blas(node, names):
            yield ast.unparse(node)
        for child in ast.iter_child_nodes(node):
            yield from within(child, held)

    return list(within(tree, False))


SPARSE = {"members @ found"}  # a product with few entries, by SciPy's own loops
DOCTOR = {"np.linalg.norm(a - b)", "np.linalg.norm(b)"}  # of a few numbers


@pytest.mark.parametrize(
    "path", [p for p in sorted(PACKAGE.rglob("*.py")) if "kernels" not in p.parts], ids=lambda path: path.stem
)
def test_blas_is_called_on_one_thread(path):
    assert set(unheld(ast.parse(path.read_text()))) <= SPARSE | DOCTOR


@pytest.mark.parametrize(
    "code",
    [
        "A @ B",
        "x += A @ B",
        "np.linalg.eigh(A)",
        "a.dot(b)",
        "np.linalg.norm(a)",
        "from scipy.linalg import qr\nqr(A)",
        "np.einsum('ij,jk', A, B, optimize=True)",
        "with one_thread():\n    f = lambda: A @ B",
    ],
)
def test_such_calls_are_seen(code):
    assert unheld(ast.parse(code))
    assert not unheld(
        ast.parse("with one_thread():\n    A @ B\nnp.einsum('ij,jk', A, B)\nnp.linalg.norm(A, axis=1)")
    )
