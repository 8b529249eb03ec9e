"""Judging one answer to one exercise, on the lesson's own state just before it. See `judge.bench`."""
