"""Rounds of kill -9, power cuts, full disks and damaged files against the retained state: is a latch ever lost?"""
