"""The process that owns the replay, SAC and the bound sockets. It never sees an environment."""
