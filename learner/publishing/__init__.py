"""Publishing of the policy to actors and to disk, and selection of the best one."""
