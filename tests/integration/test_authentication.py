"""Who the host programs take a client for."""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Final

import pytest

from integration.clients import RefusedError, over_websocket
from integration.hosts import running

HOST: Final = "chat.example"
OURS: Final = {"host": HOST, "origin": f"https://{HOST}"}


@pytest.fixture
def user_by(example: Callable[[str], ModuleType]) -> Callable[[dict[str, str]], str | None]:
    """The user that a request with these headers is taken for."""
    authenticate = example("auth").authenticate

    def look(headers: dict[str, str]) -> str | None:
        user_id: str | None = authenticate(headers.get)
        return user_id

    return look


def test_a_bearer_token_proves_a_user_whatever_the_origin(
    user_by: Callable[[dict[str, str]], str | None], issue: Callable[..., str]
) -> None:
    token = issue("ada")
    assert user_by({"authorization": f"Bearer {token}"}) == "ada"
    assert user_by({"authorization": f"bearer {token}", "origin": "https://evil.example"}) == "ada"
    assert user_by({"authorization": f"Basic {token}"}) is None
    assert user_by({"authorization": token}) is None


def test_a_cookie_proves_a_user_to_the_servers_own_pages_alone(
    user_by: Callable[[dict[str, str]], str | None], issue: Callable[..., str]
) -> None:
    cookie = f"theme=dark; chat_token={issue('ada')}"
    assert user_by({**OURS, "cookie": cookie}) == "ada"
    assert user_by({"host": HOST, "origin": f"http://{HOST}", "cookie": cookie}) == "ada"
    assert user_by({"host": HOST, "origin": "https://evil.example", "cookie": cookie}) is None
    assert user_by({"host": HOST, "origin": f"https://{HOST}.evil", "cookie": cookie}) is None
    assert user_by({"host": HOST, "origin": "null", "cookie": cookie}) is None
    assert user_by({"host": HOST, "cookie": cookie}) is None
    assert user_by({"cookie": cookie}) is None
    assert user_by({"host": "", "cookie": cookie}) is None


def test_nothing_else_proves_a_user(
    user_by: Callable[[dict[str, str]], str | None], issue: Callable[..., str]
) -> None:
    late, forged = issue("ada", -1.0), issue("ada").replace("ada", "grace")
    for token in (
        late,
        forged,
        "",
        "ada",
        "ada.9999999999",
        "...",
        "ada.x.y",
        "\u00e4.\u00f6.\u00fc",
    ):
        assert user_by({"authorization": f"Bearer {token}"}) is None
        assert user_by({**OURS, "cookie": f"chat_token={token}"}) is None
    assert user_by({**OURS, "cookie": f"other={issue('ada')}"}) is None
    assert user_by({**OURS, "cookie": ";;=,"}) is None
    assert user_by(OURS) is None


async def from_a_page(origin: str, token: str) -> None:
    async with running("starlette_host") as host:
        headers = {"Cookie": f"chat_token={token}", "Origin": origin.format(host.port)}
        async with over_websocket(host.port, "", headers):
            pass


def test_a_browser_gets_a_connection_with_its_cookie(issue: Callable[..., str]) -> None:
    asyncio.run(from_a_page("http://127.0.0.1:{}", issue("ada")))
    with pytest.raises(RefusedError, match="403"):
        asyncio.run(from_a_page("http://evil.example", issue("ada")))
