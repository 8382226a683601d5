"""What Numba and LLVM do to a kernel: all that makes it fast, and nothing that only takes time.

Numba's own pipeline is for any Python.  Kernels have no closures, array expressions or inlined overloads, so the
passes that look for these are left out, and those of LLVM that simplify each function before callers take it in and
do so again.  Loops are vectorised and not unrolled: that made half as much code again and nothing faster, as register
tiles are unrolled where they are emitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding
from numba import config
from numba.core import codegen, compiler

# Names of passes; those of another version that are not found are not missed.
SPARED = {
    "annotate_types",
    "find_literally",
    "inline_closure_likes",
    "inline_inlinables",
    "inline_overloads",
    "literal_unroll",
    "make_function_op_code_to_jit_function",
    "nopython_rewrites",
    "rewrite_dynamic_raises",
    "with_lifting",
}
before_finalizing: list[
    Callable[[Any], None]
] = []  # what is called with a library that is to be machine code
TUNED = hasattr(codegen, "create_pass_builder")  # else LLVM's passes are put together by other, older means


class Library(codegen.JITCodeLibrary):
    """LLVM code of a kernel, or of what kernels call."""

    def _optimize_functions(self, ll_module: Any) -> None:
        """Out of the stack into registers; callers do the rest when they have taken a function in."""
        if not TUNED:
            super()._optimize_functions(ll_module)
            return
        ll_module.data_layout = self._codegen._data_layout
        passes, builder = binding.create_new_function_pass_manager(), _builder(self._codegen, 3)
        passes.add_sroa_pass()
        passes.add_simplify_cfg_pass()
        passes.add_instruction_combine_pass()
        for function in ll_module.functions:
            if not function.is_declaration:
                passes.run(function, builder)

    def _optimize_final_module(self) -> None:
        """As Numba does: cheap passes, so that references to arrays meet in one function and cancel, then all."""
        if not TUNED:
            super()._optimize_final_module()
            return
        for level in (0, 3):
            builder = _builder(self._codegen, level)
            passes = builder.getModulePassManager()
            if level == 0:
                passes.add_loop_rotate_pass()
                passes.add_instruction_combine_pass()
                passes.add_jump_threading_pass()
            passes.add_refprune_pass()
            passes.run(self._final_module, builder)

    def _finalize_final_module(self) -> None:
        for prepare in before_finalizing:
            prepare(self)
        super()._finalize_final_module()


def _builder(target: Any, level: int) -> Any:
    tuning = binding.create_pipeline_tuning_options()
    tuning.speed_level = level
    tuning.loop_vectorization = level > 0
    tuning.slp_vectorization = level > 0 and bool(config.SLP_VECTORIZE)
    tuning.loop_unrolling = False
    return binding.create_pass_builder(target._tm, tuning)


class Pipeline(compiler.CompilerBase):
    """Numba's for nopython mode, but for the passes that are spared."""

    def define_pipelines(self) -> list[Any]:
        state = self.state
        if state.library is None:
            state.library = Library(state.targetctx.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
        passes = compiler.PassManager("kernel")
        default = compiler.DefaultPassBuilder.define_nopython_pipeline(state)
        passes.passes = [step for step in default.passes if step[0].name() not in SPARED]
        passes.finalize()
        return [passes]
