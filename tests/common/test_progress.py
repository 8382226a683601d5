"""Who is told what about long work: nobody, a function, a terminal, a log file."""

import io
import sys

import pytest

from fasttangent.common.progress import reporting


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work(report, epochs=3):
    for epoch in range(1, epochs + 1):
        report("training", epoch, epochs, loss=0.5 / epoch)
    report("settling", 1, 10, gradient_norm=1e-9)
    report("scoring", 100, 0)
    report("scoring", 250_000, 0)


def test_false_is_silent(capsys):
    with reporting(False) as report:
        work(report)
    assert capsys.readouterr() == ("", "")


def test_a_function_is_called_as_it_is():
    seen = []

    def listen(stage, done, total, **figures):
        seen.append((stage, done, total, figures))

    with reporting(listen) as report:
        assert report is listen
        work(report, 1)
    assert seen[0] == ("training", 1, 1, {"loss": 0.5})
    assert seen[-1] == ("scoring", 250_000, 0, {})


@pytest.mark.parametrize("progress", [None, 1, 0, "yes", object()])
def test_anything_else_is_refused(progress):
    with pytest.raises(TypeError, match="must be False, True or a function"), reporting(progress):
        pass


def test_a_log_file_gets_one_line_per_stage(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with reporting(True) as report:
        work(report, 100)
    lines = stream.getvalue().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["training", "100/100"],
        ["settling", "1/10"],
        ["scoring", "250,000"],
    ]
    assert "loss 0.005" in lines[0]
    assert "gradient norm 1e-09" in lines[1]
    assert all(line.endswith(" s") for line in lines)


def test_going_back_is_a_new_stage_only_after_the_end(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with reporting(True) as report:
        for done in (1, 5, 2, 10, 10, 1, 3):
            report("settling", done, 10)
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["10/10", "3/10"]


def test_a_terminal_gets_a_bar_and_the_lines(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def interrupted():
        with reporting(True) as report:
            work(report)
            report("training", 1, 7)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    written = stream.getvalue()
    assert "\x1b[" in written, "the bar moves"
    assert written.endswith(" s\n")
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h"), "the cursor is visible again"
    assert "training      3/3" in written
    assert "training      1/7" in written


def test_a_dumb_terminal_gets_lines(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "dumb")
    with reporting(True) as report:
        work(report)
    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 3


def test_no_stderr_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with reporting(True) as report:
        work(report)


def test_without_rich(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    with (
        pytest.raises(ImportError, match=r"pip install 'fasttangent\[cli\]', or pass a function"),
        reporting(True),
    ):
        pytest.fail("no work before the message")
    with reporting(False) as report:
        report("training", 1, 1)
