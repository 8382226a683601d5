"""Every notebook runs from top to bottom: its checks are assertions, its figures must draw."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# Not ours to mend: Jupyter's clients announce their own future, and pyzmq leaves closing to the collector.
pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:(jupyter|nbclient|nbformat|ipykernel|zmq|tornado|traitlets)"
    ),
    pytest.mark.filterwarnings("ignore:Jupyter is migrating its paths:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:unclosed (context|socket|event loop):ResourceWarning"),
]


def kernel_of_this_interpreter(folder: Path) -> None:
    """A kernel named python3 in a Jupyter folder of our own: a user's may start another interpreter."""
    from jupyter_client.kernelspec import KernelSpec

    spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        display_name="Python 3",
        language="python",
    )
    home = folder / "kernels" / "python3"
    home.mkdir(parents=True)
    (home / "kernel.json").write_text(spec.to_json(), encoding="utf-8")


@pytest.fixture
def jupyter(tmp_path, monkeypatch):
    """Jupyter without any of the user's settings, finding this interpreter."""
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    kernel_of_this_interpreter(tmp_path / "JUPYTER_DATA_DIR")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    return tmp_path


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, jupyter):
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    work = jupyter / "work"
    work.mkdir()
    resources = {"metadata": {"path": str(work)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    assert not list(work.iterdir()), "a notebook should leave no files behind"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_fit_to_be_stored(path):
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size < 400_000
    for cell in notebook.cells:
        assert "execution" not in cell.metadata, "strip timestamps: execute with record_timing=False"
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.text
    text = path.read_text(encoding="utf-8")
    assert "/home/" not in text
    assert str(ROOT) not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_it_imports_is_there(path):
    """Quick: a name that moved is seen before the slow tests run the whole of it."""
    import ast

    import nbformat

    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    for node in ast.walk(ast.parse("\n".join(cells))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("fasttangent"):
            for alias in node.names:
                home = importlib.import_module(node.module)
                assert hasattr(home, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
