"""What is measured of the library, beside peers and against exact answers: `python -m bench` lists it."""
