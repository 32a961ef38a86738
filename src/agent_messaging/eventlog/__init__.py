"""Where the events of runs are kept, so that a client can get what it missed."""
