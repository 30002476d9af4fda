"""Code shared by actors and learner: settings, specs, wire, sockets, policy. Imports neither of them."""
