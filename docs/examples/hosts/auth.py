"""Who is at the other end: bearer tokens, signed with nothing but the standard library.

`CHAT_SECRET=... python -m hosts.auth ada` prints a token for the user `ada`.
"""

import hashlib
import hmac
import os
import sys
import time

SECRET = os.environ["CHAT_SECRET"].encode()


def issue(user_id: str, seconds: float = 3600.0) -> str:
    """A token that is good for so many seconds."""
    claim = f"{user_id}.{int(time.time() + seconds)}"
    return f"{claim}.{_signature(claim)}"


def authenticate(authorization: str | None) -> str | None:
    """The user that an `Authorization` header proves; None if it proves none."""
    scheme, _, token = (authorization or "").partition(" ")
    claim, _, signature = token.rpartition(".")
    # The signature is looked at first: what stands before a good one was written by `issue`.
    if scheme.lower() != "bearer" or not hmac.compare_digest(
        _signature(claim).encode(), signature.encode()
    ):
        return None
    user_id, _, expires = claim.rpartition(".")
    return user_id if time.time() < int(expires) else None


def _signature(claim: str) -> str:
    return hmac.new(SECRET, claim.encode(), hashlib.sha256).hexdigest()


if __name__ == "__main__":
    print(issue(sys.argv[1]))
