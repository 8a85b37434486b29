"""`ggt-hub app` where it cannot start; that it does is seen in `tests/test_package.py` and `tests/demo`."""

import signal
import socket

from typer.testing import CliRunner

from ggt_hub.cli import app
from ggt_hub.errors import DemoError


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = CliRunner().invoke(app, ["app", "--port", str(port)])
    assert isinstance(result.exception, DemoError)
    assert f"cannot be served at 127.0.0.1:{port}" in str(result.exception)
    assert "--port" in str(result.exception)
    # A handler left behind would be that of all later forks, where a signal just before a lock is never noticed.
    assert signal.getsignal(signal.SIGTERM) is before
