"""The learner process, which owns the replay, the algorithm and the bound sockets, and no environment."""
