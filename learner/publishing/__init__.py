"""The policy on its way to the actors and to disk, and the choice of the best one."""
