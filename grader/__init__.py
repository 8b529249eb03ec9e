"""A class: submissions, verdicts kept, engines, gradebook, feedback and report."""
