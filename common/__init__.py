"""What actors and the learner share: config, specs, wire, sockets, policy. Imports neither of them."""
