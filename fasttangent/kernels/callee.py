"""Kernels that kernels call: typed and lowered once, optimised and made machine code only as part of their callers.

Numba takes every function that another one calls all the way: wrappers for Python, all of LLVM's passes, machine code.
None of it is used, as the callers take in its LLVM code and optimise it again.  Of a first `fit`, which compiles 11
kernels that call a hundred others, that was half of the time.  A kernel called from Python still has all of it.
"""

from __future__ import annotations

from typing import Any

from numba.core import compiler, errors, sigutils, typing
from numba.core.compiler_lock import global_compiler_lock

from fasttangent.kernels.pipeline import Library


class _Library(Library):
    """LLVM code that callers link, and that no one runs by itself."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class Callee:
    """What other kernels see of one: the two methods by which Numba asks a dispatcher for a callee."""

    def __init__(self, dispatcher: Any) -> None:
        self._function, self._compiler = dispatcher.py_func, dispatcher._compiler
        self._found: dict[tuple, Any] = {}  # by the types of the arguments

    def get_call_template(self, args: Any, kws: Any) -> tuple:
        """How Numba learns the type of a call."""
        signature, args = self._compiler.fold_argument_types(args, kws)
        try:
            self._compiled(tuple(args))
        except errors.ForceLiteralArg as error:
            raise error.bind_fold_arguments(
                lambda args, kws: self._compiler.fold_argument_types(args, kws)[1]
            ) from None
        name = self._function.__name__
        signatures = [found.signature for found in self._found.values()]
        template = typing.make_concrete_template(f"CallTemplate({name})", key=name, signatures=signatures)
        return template, signature, args, {}

    def get_overload(self, sig: Any) -> object:
        """The key by which Numba finds the code of a call."""
        args, _ = sigutils.normalize_signature(sig)
        return self._found[tuple(args)].entry_point

    def _compiled(self, args: tuple) -> Any:
        with global_compiler_lock:
            if args not in self._found:
                self._found[args] = self._compile(args)
            return self._found[args]

    def _compile(self, args: tuple) -> Any:
        """As `_FunctionCompiler._compile_core` of Numba does, into a library of ours."""
        context, flags = self._compiler.targetdescr.target_context, compiler.Flags()
        self._compiler.targetdescr.options.parse_as_flags(flags, self._compiler.targetoptions)
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        result = compiler.compile_extra(
            self._compiler.targetdescr.typing_context,
            context,
            self._function,
            args=args,
            return_type=None,
            flags=flags,
            locals=self._compiler.locals,
            library=_Library(context.codegen(), self._function.__qualname__),
            pipeline_class=self._compiler.pipeline_class,
        )
        key = object()
        context.insert_user_function(key, result.fndesc, [result.library])
        return result._replace(entry_point=key)
