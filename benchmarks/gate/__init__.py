"""How often the gate is right: the same Bento on both sides, and slowdowns put into one of them."""
