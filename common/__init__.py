"""The part that actors and learner share: config, specs, wire, sockets, policy. Imports neither of them."""
