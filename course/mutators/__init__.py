"""Mutation operators: the systematic mistakes of `course.mutants`, a family a module."""
