"""The factory acceptance test: real controller processes against the simulated plant, fault by fault."""
