"""Work that is killed at random moments and begun again: nothing lost, nothing half-written, the same result."""

import signal
import sys

import pytest

from bench.scale import kills
from bench.scale.killing import Work, WrongError, killed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals"),
]


@pytest.mark.parametrize(("number", "most"), [(signal.SIGKILL, 20), (signal.SIGINT, 8)])
def test_score(tmp_path, number, most):
    found = killed(kills.WORKS["score of 60 files"], tmp_path, most, number=number, seed=3, earliest=0.6)
    assert found.kills >= most
    assert found.midway > most / 8, "kills came at telling moments"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_select(tmp_path, number):
    assert killed(kills.WORKS["select -o"], tmp_path, 3, number=number).kills >= 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_next_and_tell(tmp_path, number):
    found = killed(kills.WORKS["next and tell, three rounds"], tmp_path, 5, number=number)
    assert found.kills >= 5


def test_a_half_written_output_is_found(tmp_path):
    """The campaign sees what it is to see."""

    def steps(source, place):
        (place / "out.csv").write_text("a,b\n1,2\n" if place.name == "undisturbed" else "a,b\n1,")
        yield ["--help"]

    def there(place):
        return {path.name: path.read_text() for path in place.iterdir()}

    with pytest.raises(WrongError):
        killed(Work(lambda folder: None, steps, there), tmp_path, 1)
