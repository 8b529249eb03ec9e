"""Grading: the bench that judges one answer, and what runs it over a class."""
