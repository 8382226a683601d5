"""A hierarchy of users against one model for all and one for each."""
