"""Mutation testing of protection and sequences: one small change at a time, and the tests must notice."""
