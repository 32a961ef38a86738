"""Who is at the other end: signed tokens that expire, with nothing but the standard library.

`CHAT_SECRET=... python -m hosts.auth ada` prints a token for the user `ada`.
"""

import hashlib
import hmac
import os
import sys
import time
from collections.abc import Callable
from http.cookies import SimpleCookie

SECRET = os.environ["CHAT_SECRET"].encode()
#: Set by your login page as `HttpOnly; Secure; SameSite=Strict`.
COOKIE = "chat_token"


def issue(user_id: str, seconds: float = 3600.0) -> str:
    """A token that is good for so many seconds."""
    claim = f"{user_id}.{int(time.time() + seconds)}"
    return f"{claim}.{_signature(claim)}"


def user_of(token: str) -> str | None:
    """The user that a token proves; None if it proves none, or did so for long enough."""
    claim, _, signature = token.rpartition(".")
    # The signature is looked at first: what stands before a good one was written by `issue`.
    if not hmac.compare_digest(_signature(claim).encode(), signature.encode()):
        return None
    user_id, _, expires = claim.rpartition(".")
    return user_id if time.time() < int(expires) else None


def authenticate(header: Callable[[str], str | None]) -> str | None:
    """The user that a request's headers prove: a program's bearer token, or a browser's cookie.

    A browser sets no headers for a WebSocket. It sends the cookie, though, whichever site's page
    asks it to; so the page's origin has to be this server.
    """
    scheme, _, token = (header("authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return user_of(token)
    host = header("host")
    if header("origin") not in (f"https://{host}", f"http://{host}"):
        return None
    cookie = SimpleCookie(header("cookie")).get(COOKIE)
    return None if cookie is None else user_of(cookie.value)


def _signature(claim: str) -> str:
    return hmac.new(SECRET, claim.encode(), hashlib.sha256).hexdigest()


if __name__ == "__main__":
    print(issue(sys.argv[1]))
