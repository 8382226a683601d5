"""Up to how many parameters something dense is taken, in one place: three questions, three answers."""

EIGENVALUES_UP_TO = (
    200  # all eigenvalues instead of Lanczos: they are cheap, and Lanczos is not worth its care
)
FOLLOWED_DENSE_UP_TO = (
    4000  # factors for refits: 128 MB each, of which every thread makes its own, again and again
)
FACTORED_UP_TO = 8000  # one factor for many right-hand sides: it takes seconds
