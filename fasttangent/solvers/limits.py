"""Up to how many parameters something dense is taken, in one place: three questions, three answers."""

BRACKETED_DENSE_UP_TO = 6000  # two factors prove the smallest eigenvalue: 4 s with 3,000 rows
FOLLOWED_DENSE_UP_TO = (
    4000  # factors for refits: 128 MB each, of which every thread makes its own, again and again
)
FACTORED_UP_TO = 8000  # one factor for many right-hand sides: it takes seconds
