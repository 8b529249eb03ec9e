"""What is proven about each lesson, whether it still holds, and proving it again. Above authoring and grader."""
