import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hubkit.cli import SECTIONS, main
from registry import Version

Run = Callable[..., Result]
HEAVY = ("torch", "transformers", "datasets", "numpy")


def loaded(*arguments: object, status: int = 0) -> set[str]:
    """The modules that a process has loaded when its hubkit command ends."""
    return loaded_by_each(arguments, status=status)[0]


def loaded_by_each(*commands: Sequence[object], status: int = 0) -> list[set[str]]:
    """The modules that a process has loaded after each of its hubkit commands."""
    script = (
        "import json, sys\n"
        "from hubkit.cli import main\n"
        "for command in json.loads(sys.argv.pop()):\n"
        "    status, sys.argv[1:] = 0, command\n"
        "    try:\n        main()\n"
        "    except SystemExit as end:\n        status = end.code\n"
        "    print(json.dumps([status, sorted(sys.modules)]), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, json.dumps([[*map(str, words)] for words in commands])],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    lines = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("[")]
    assert [found or 0 for found, _ in lines] == [status] * len(commands), result.stderr
    return [set(modules) for _, modules in lines]


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_help_loads_next_to_nothing(arguments: list[str]) -> None:
    assert not loaded(*arguments) & {*HEAVY, "pydantic", "sqlalchemy", "rich"}


@pytest.mark.parametrize("command", ["train", "mix"])
def test_help_names_no_range_where_any_number_will_do(run: Run, command: str) -> None:
    assert "None]" not in run(command, "--help").stdout


def test_what_computes_nothing_loads_no_torch(
    publish: Callable[..., Version], tmp_path: Path
) -> None:
    publish("one")
    publish("two")
    home = Path(os.environ["HUBKIT_HOME"])
    commands: list[tuple[object, ...]] = [
        ("list", "--base", tmp_path),
        ("show", "one"),
        ("pull", "one", "--from", home, "--name", "four"),
        ("stack", "one", "two", "--name", "both"),
        ("mix", "one", "two", "--name", "mixed"),
        ("leaderboard", "--dataset", "imdb"),
        ("alias", "one", "best"),
        ("yank", "two@1", "--reason", "leaked"),
        ("delete", "four", "--yes"),
        ("export", "both"),
        ("log",),
        ("gc",),
        ("fsck", "--full"),
        ("doctor",),
        ("backup", tmp_path / "backup"),
        ("rebuild",),
        ("db", "current"),
    ]
    # The last one is drawn by rich, in a pipe, too.
    *those, last = loaded_by_each(*commands, ("lineage", "both"))
    for words, modules in zip(commands, those, strict=True):
        assert not modules & {*HEAVY, "rich"}, words
    assert not last & {*HEAVY}


def test_a_command_loads_nothing_that_only_others_need(publish: Callable[..., Version]) -> None:
    publish("one")
    others = {"hubkit.cli.compose", "hubkit.methods", "registry.maintenance", "registry.folders"}
    theirs = {"alembic", "platformdirs", "sqlalchemy.dialects.postgresql"}
    assert not loaded("list") & (others | theirs)


def test_version_is_that_of_the_distribution(run: Run) -> None:
    assert run("--version").stdout == f"hubkit {version('hubkit')}\n"


def test_commands_are_listed_in_the_order_of_use(run: Run) -> None:
    listed = run("--help").stdout.partition("\nCompose:\n")[2].splitlines()
    sections = [line.rstrip(":").lower() for line in listed if line.endswith(":")]
    assert ["compose", *sections] == [*SECTIONS]
    commands = [line.split()[0] for line in listed if line.startswith("  ")]
    assert commands == [command for names in SECTIONS.values() for command in names]


def test_python_runs_the_package_as_the_command() -> None:
    command = [sys.executable, "-m", "hubkit", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"hubkit {version('hubkit')}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tarin"], "No such command 'tarin'. Did you mean train?"),
        (["frobnicate"], "No such command 'frobnicate'."),
        (["list", "--bsae", "x"], "No such option '--bsae'. Did you mean '--base'?"),
    ],
)
def test_mistyped_word_is_told_with_the_nearest_that_there_is(
    run: Run, arguments: list[str], told: str
) -> None:
    assert run(*arguments, status=2).stderr.endswith(f"Error: {told}\n")


TRAIN = ("train", "data.csv", "--base", "base", "--task", "t", "--name", "n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "a/b/c"),
        ("show", "film@0"),
        ("pull", "a@@"),
        ("pull", "hf:film"),
        ("pull", "ada/film", "--from", "ftp://x"),
        ("publish", "folder", "--name", "film@2"),
        ("alias", "film", "BEST"),
        ("yank", "film", "--reason", "leaked"),
        ("delete", "film@2", "--yes"),
        ("list", "--metric", "accuracy>=nan"),
        ("list", "--limit", "0"),
        ("list", "--max-size", "large"),
        ("login", "--to", "ftp://x", "--token", "secret"),
        ("mix", "a", "b", "--name", "c", "--weight", "nan"),
        (*TRAIN, "--learning-rate", "nan"),
        (*TRAIN, "--learning-rate", "inf"),
        (*TRAIN, "--learning-rate", "0"),
        (*TRAIN, "--epochs", "9" * 30),
        (*TRAIN, "--alpha", "inf"),
        (*TRAIN, "--dropout", "nan"),
        (*TRAIN, "--seed", "-1"),
    ],
)
def test_wrong_command_line_has_status_2(
    run: Run, publish: Callable[..., Version], arguments: tuple[str, ...]
) -> None:
    publish("film")
    result = run(*arguments, status=2)
    assert result.stdout == ""
    assert "Error: " in result.stderr


@pytest.mark.parametrize("command", ["list", "show", "predict"])
def test_argument_that_is_not_unicode_is_a_usage_error(run: Run, command: str) -> None:
    result = run(command, "film", os.fsdecode(b"\xff"), status=2)
    assert "Error: '\\udcff' is not valid UTF-8.\n" in result.stderr


def test_error_of_hubkit_is_a_sentence(run: Run) -> None:
    result = run("show", "film", status=1)
    assert (result.stdout, result.stderr) == (
        "",
        "Error: No adapter is called film. `hubkit list` shows those that exist.\n",
    )


def test_interrupt_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("registry.open_catalog", interrupt, raising=False)
    result = CliRunner().invoke(main, ["list"])
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: Interrupted. The same command resumes, if anything is finished.\n"
    )


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("registry.open_catalog", fail, raising=False)
    assert isinstance(CliRunner().invoke(main, ["list"]).exception, RuntimeError)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["show", "film"], ["list", "--json"], ["export", "film"]]
)
def test_output_that_is_not_taken(
    publish: Callable[..., Version],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    publish("film", message="long " * 4000)  # more than is kept until it can be written
    for path, why in (("/dev/full", "No space left on device"), (os.devnull, "it is closed")):
        with open(path, "w") as output:
            monkeypatch.setattr(sys, "stdout", output if path == "/dev/full" else None)
            with pytest.raises(SystemExit, match=r"^1$"):
                main(arguments)
        assert capsys.readouterr().err == f"Error: Cannot write standard output: {why}.\n"


def test_notes_that_nobody_takes_go_nowhere(
    publish: Callable[..., Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("film")
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["fsck"])
    sys.stderr.close()


def test_registry_that_cannot_be_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("list", status=1, HUBKIT_HOME=str(tmp_path / "file" / "home"))
    assert result.stderr.startswith("Error: Cannot make a registry in ")


def test_shell_completes_names_of_adapters(publish: Callable[..., Version]) -> None:
    for name in ("film", "ada/film", "book"):
        publish(name)
    result = CliRunner().invoke(
        main,
        [],
        prog_name="hubkit",
        env={
            "_HUBKIT_COMPLETE": "bash_complete",
            "COMP_WORDS": "hubkit show fi",
            "COMP_CWORD": "2",
        },
    )
    assert result.stdout == "plain,film\n"


def test_shell_completion_makes_no_registry(hubkit_home: Path) -> None:
    CliRunner().invoke(
        main,
        [],
        prog_name="hubkit",
        env={"_HUBKIT_COMPLETE": "bash_complete", "COMP_WORDS": "hubkit show ", "COMP_CWORD": "2"},
    )
    assert not hubkit_home.exists()


@pytest.mark.parametrize("command", ["gc", "fsck", "backup x", "log", "export film"])
def test_without_a_registry_none_is_made(run: Run, hubkit_home: Path, command: str) -> None:
    status = 2 if command == "fsck" else 1  # 1 would say that all is mended
    assert "There is no registry in" in run(*command.split(), status=status).stderr
    assert not hubkit_home.exists()
