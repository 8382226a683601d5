"""What a row does to a model: exact influence, refits, unlearning, and how far cheap scores are from them."""
