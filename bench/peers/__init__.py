"""The same work in other packages, each imported when it is first needed."""
