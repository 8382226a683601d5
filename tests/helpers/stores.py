"""Stores for tests: one in memory, and one that fails now and then."""

import itertools
from typing import ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class FlakyFileSystem(MemoryFileSystem):
    """A store whose every tenth answer is an error, or every one."""

    protocol = "flaky"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    asked = itertools.count(1)
    every = 10
    failures = 0

    @classmethod
    def fail(cls):
        if next(cls.asked) % cls.every == 0:
            cls.failures += 1
            raise ConnectionError("the peer went away")

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("flaky://", "memory://"))

    def unstrip_protocol(self, name):
        return f"flaky://{name.lstrip('/')}"

    def info(self, path, **options):
        self.fail()
        return super().info(path, **options)

    def open(self, path, mode="rb", **options):
        self.fail()
        found = super().open(path, mode, **options)
        return Flaky(found) if mode == "rb" else found


class Flaky:
    def __init__(self, file):
        self.file = file

    def seek(self, *arguments):
        return self.file.seek(*arguments)

    def read(self, count=-1):
        FlakyFileSystem.fail()
        return self.file.read(min(count, 65_536) if count > 0 else count)

    def close(self):
        pass


fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
