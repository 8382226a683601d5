"""The README keeps its word: its code runs and prints what it shows, its commands are those of the CI."""

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def test_the_examples_print_what_is_shown():
    examples = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL)
    assert len(examples) == README.count("```python")
    names = {}  # later examples go on from earlier ones
    for code, shown in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
        assert NUMBER.sub("#", printed.getvalue()) == NUMBER.sub("#", shown)
        # Another processor may settle in another minimum: the figures are to agree, not to be identical.
        for got, wanted in zip(NUMBER.findall(printed.getvalue()), NUMBER.findall(shown), strict=True):
            assert abs(float(got) - float(wanted)) <= 0.3 * abs(float(wanted))


def test_the_commands_at_the_top_are_the_ones_ci_runs():
    commands = re.findall(r"```\n(pip install .*?)\n```", README)
    assert commands[0].endswith("fasttangent demo")
    install, test = commands[1].split(" && ")
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert install in [line.replace(" --quiet", "") for line in ci]
    assert test in ci


def test_every_python_example_on_the_command_line_exists():
    from fasttangent.cli.app import cli

    for command in re.findall(r"^fasttangent (\w+)", README, re.MULTILINE):
        assert command in cli.commands
