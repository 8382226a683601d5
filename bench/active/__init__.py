"""Active learning against random labelling and the best that is published."""
