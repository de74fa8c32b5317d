"""What a command has to say: one model of it, and views for people and for programs."""
