"""Simulated days with random faults: the pure scan against the plant in one process, judged from outside."""
