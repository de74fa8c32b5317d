"""The survey of a model's inputs: what each feeds, and what would be gained if it were declared the user's."""
