"""The tutorial's server and client, as the reader saves and starts them."""

import doctest
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

_TUTORIAL: Final = Path(__file__).parents[2] / "docs" / "tutorial" / "first-agent.md"
_SAVED: Final = re.compile(
    r"^Save this as `(\w+\.py)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_CLIENT: Final = re.compile(r"^\$ python client\.py (.*)\n((?:(?!\$ |```).*\n)*)", re.MULTILINE)
#: Seconds for the server to start and answer; only a fault comes near.
_PATIENCE: Final = 60


def test_the_client_gets_from_the_server_what_the_tutorial_says(tmp_path: Path) -> None:
    page = _TUTORIAL.read_text(encoding="utf-8")
    assert "$ uvicorn server:app --port 8000\n" in page
    talks = _CLIENT.findall(page)
    assert talks
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        for name, source in _SAVED.findall(page):
            (tmp_path / name).write_text(source.replace("8000", port), encoding="utf-8")
        # The socket listens already, so that the client waits in its queue for the server.
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "server:app", "--fd", str(listening.fileno())],
            cwd=tmp_path,
            pass_fds=[listening.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            for arguments, expected in talks:
                client = subprocess.run(
                    [sys.executable, "client.py", *re.findall(r'"(.*?)"', arguments)],
                    cwd=tmp_path,
                    capture_output=True,
                    text=True,
                    timeout=_PATIENCE,
                    check=False,
                )
                assert client.returncode == 0, client.stderr
                checker = doctest.OutputChecker()
                assert checker.check_output(expected, client.stdout, doctest.ELLIPSIS), (
                    client.stdout
                )
        finally:
            server.terminate()
            said, _ = server.communicate(timeout=_PATIENCE)
    assert "Traceback" not in said, said
