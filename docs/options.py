"""Ends each page of a command with its usage and options, as the command itself states them."""

import typer
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click

from ggt_hub.cli import app

COMMANDS = typer.main.get_command(app)


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """What mkdocs calls for each page before it is rendered."""
    folder, _, name = page.file.src_uri.rpartition("/")
    if folder != "commands":
        return markdown
    command = COMMANDS.commands[name.removesuffix(".md")]
    context = typer.Context(COMMANDS, info_name="ggt-hub")
    options = get_docs_for_click(obj=command, ctx=context, indent=1, call_prefix="ggt-hub", title="Options")
    return f"{markdown}\n{options}"
