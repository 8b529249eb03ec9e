"""What a lesson is: its text read and checked, the forms of its notebook, the small mistakes made in its answers."""
