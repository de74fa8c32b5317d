"""One model as two or three: the user's part, the items' part and the ranking model."""
