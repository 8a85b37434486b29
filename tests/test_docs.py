"""The documentation builds, its links lead somewhere, its commands exist, and its examples do what they say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from ggt_hub import cli
from tests.documents import ROOT, command_lines, fences, lay_out_desk, read

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
CARDS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "model_cards").glob("*.md"))
COMMANDS = typer.main.get_command(cli.app)
LONG_OPTION = re.compile(r"--[a-z][a-z-]+")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def build(folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "-f", folder / "mkdocs.yml", "-d", site]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_site_builds_and_shows_the_options_of_each_command(tmp_path: Path) -> None:
    run = build(ROOT, tmp_path)
    assert run.returncode == 0, run.stderr
    assert {path.stem for path in (tmp_path / "commands").glob("*.html")} == set(COMMANDS.commands)
    page = (tmp_path / "commands/restore.html").read_text(encoding="utf-8")
    assert "<code>--upscale &lt;float&gt;</code>: Enlarge by this factor." in page
    assert "scans/**/*.jpg" in page
    assert not list(tmp_path.rglob("*.py"))


@pytest.mark.parametrize("link", ["commands/nothing.md", "concepts/tasks.md#nothing"])
def test_a_broken_link_or_anchor_fails_the_build(tmp_path: Path, link: str) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs/index.md").open("a") as page:
        page.write(f"\n[broken]({link})\n")
    run = build(tmp_path, tmp_path / "site")
    assert run.returncode != 0
    assert link in run.stderr


def test_each_command_has_a_page_and_each_page_a_command() -> None:
    pages = {Path(page).stem for page in PAGES if page.startswith("docs/commands/")}
    assert pages == set(COMMANDS.commands)


def find_command(words: list[str]) -> tuple[typer.core.TyperCommand, list[str]]:
    """The command that a line calls, and the words that are left for it."""
    command, words = COMMANDS, list(words)
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"ggt-hub has no {' '.join(words)!r}"
        command = command.commands[words.pop(0)]
    return command, words


@pytest.mark.parametrize("document", [*PAGES, *CARDS, "README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_every_call_of_the_command_parses(document: str) -> None:
    for language, block in fences(read(document)):
        if language in ("bash", "console"):
            for words in command_lines(block):
                command, rest = find_command(words)
                command.make_context("ggt-hub", rest)  # raises for an unknown option or a missing argument


def options_of(command: typer.core.TyperCommand) -> set[str]:
    if isinstance(command, TyperGroup):
        return set().union(*map(options_of, command.commands.values()))
    return {"--help"}.union(*(parameter.opts for parameter in command.params))


@pytest.mark.parametrize("document", [*PAGES, "README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"])
def test_commands_and_options_that_the_prose_names_exist(document: str) -> None:
    name = Path(document).stem
    page_of = COMMANDS.commands[name] if document.startswith("docs/commands/") else COMMANDS
    prose = re.sub(r"^```.*?^```", "", read(document), flags=re.M | re.S)
    for span in INLINE.findall(prose):
        if span.startswith("ggt-hub "):
            command, rest = find_command(span.split()[1:])
            assert set(LONG_OPTION.findall(" ".join(rest))) <= options_of(command), span
        elif span.startswith("--"):
            assert set(LONG_OPTION.findall(span)) <= options_of(page_of), span


class Reader:
    """Does what a page says, in order, in a folder with the files that it speaks of."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch
        self.names: dict[str, object] = {"__name__": "page"}
        self.output = ""

    def bash(self, block: str) -> None:
        """Run each line; one that ends with `# exit code 2` must give that."""
        self.output = ""
        for line in block.replace("\\\n", " ").splitlines():
            (words,) = command_lines(line)
            self.monkeypatch.setattr(sys, "argv", ["ggt-hub", *words])
            with pytest.raises(SystemExit) as exit:
                cli.main()
            self._listen()
            expected = re.search(r"# exit code (\d)", line)
            assert (exit.value.code or 0) == int(expected[1] if expected else 0), self.output

    def python(self, block: str) -> None:
        exec(compile(block, "<page>", "exec"), self.names)
        self.output = ""
        self._listen()

    def yaml(self, block: str) -> None:
        """A file, whose name stands in the first line as a comment."""
        Path(block.split()[1]).write_text(block)

    def text(self, block: str) -> None:
        """What came out, shortened: `...` is what was left out, and a number may be any other."""
        lines = [_numberless(line) for line in self.output.splitlines()]
        for shown in block.splitlines():
            pattern = ".*".join(re.escape(_numberless(part)) for part in shown.split("..."))
            assert any(re.search(pattern, line) for line in lines), f"{shown!r} is not in\n{self.output}"

    def _listen(self) -> None:
        out, err = self.capsys.readouterr()
        self.output += out + err.replace("\r", "\n")


def _numberless(text: str) -> str:
    """Digits and hashes as #, spaces single: times, sizes and scores differ between machines and weights."""
    return re.sub(r"\s+", " ", re.sub(r"\b[0-9a-f]{8,}\b|-?\d+(\.\d+)?", "#", text)).strip()


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_give_what_it_shows(
    page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lay_out_desk(tmp_path))
    reader = Reader(capsys, monkeypatch)
    for language, block in fences(read(page)):
        if language != "console":  # calls of servers and downloads: parsed above, not run
            getattr(reader, language)(block)
