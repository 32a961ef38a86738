"""``python -m agent_messaging``: the same as the command ``agent-messaging``."""

import sys

from agent_messaging._cli import main

if __name__ == "__main__":
    sys.exit(main())
