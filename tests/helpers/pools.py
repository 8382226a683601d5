"""Pools that are read in chunks, and in parts."""

from fasttangent.active import candidates, cluster_parts, picking, two_level


class Chunks:
    """Rows in chunks of those sizes, over and over; `most` is the largest number of rows taken at once."""

    def __init__(self, rows, sizes=(7, 1, 30)):
        self.rows, self.sizes, self.passes, self.most = rows, sizes, 0, 0

    def __len__(self):
        return len(self.rows)

    def chunks(self):
        self.passes += 1
        start, i = 0, 0
        while start < len(self.rows):
            stop = start + self.sizes[i % len(self.sizes)]
            yield start, self.rows[start:stop].copy()
            start, i = stop, i + 1

    def take(self, numbers):
        self.most = max(self.most, len(numbers))
        return self.rows[numbers]


def selected(model, pool, k, **asked):
    from fasttangent.active.asked import Asked
    from fasttangent.active.selection import selected as of_a_pool

    return of_a_pool(model, pool, Asked(k, **asked))[0]


def compare_in_parts(monkeypatch, sample=30, part=64):
    """As if a few rows were a large pool."""
    monkeypatch.setattr(candidates, "HELD", 1)
    monkeypatch.setattr(picking, "WHOLE", 0)
    monkeypatch.setattr(picking, "SAMPLE", sample)
    monkeypatch.setattr(two_level, "PART", part)
    monkeypatch.setattr(cluster_parts, "PART", part)


def whole(model, rows, k, monkeypatch, **asked):
    """The picks of the whole pool in memory."""
    import fasttangent as ft

    with monkeypatch.context() as patch:
        patch.setattr(picking, "WHOLE", 1 << 40)
        return ft.select(model, rows, k, prefilter=None, **asked)
