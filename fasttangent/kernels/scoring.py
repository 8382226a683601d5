"""The forward pass with tangents over any number of rows: what every score is made of.

Only two layers are kept at a time, and the weights of a layer are transposed, so that a tile reads them in order.
"""

from fasttangent.kernels.activations import activate
from fasttangent.kernels.denormals import flush_denormals, restore
from fasttangent.kernels.jit import kernel, making_arrays
from fasttangent.kernels.memory import aligned
from fasttangent.kernels.network import block_rows, matrix, whole_vectors
from fasttangent.kernels.prefetch import prefetch_rows
from fasttangent.kernels.products import product
from fasttangent.kernels.sums import gather_columns
from fasttangent.kernels.views import row, stretch, window


@making_arrays
def outputs(F, FT, WT, VT, X, row_step, centre, network):
    """Outputs F (n, n_outputs) and their tangents FT (n, K, n_outputs) of rows of X.

    WT (p,) and VT (K, p) hold, for each layer, weights and biases transposed: (n_out, n_in + 1).  Row i is
    X[i row_step : i row_step + n_features] of the flat X, and `centre` (n_features,) is subtracted from it.
    A row with a value that is not finite has outputs and tangents nan.
    """
    n, K, n_outputs, block, table = len(F), len(VT), F.shape[1], block_rows(WT), network.table
    widest, n_features = 0, len(centre)
    for l in range(len(table)):
        widest = max(widest, table[l, 0] + 1, table[l, 1] + 1)
    size = widest * block
    h, z, p = aligned(size, WT), aligned(size, WT), aligned(size, WT)
    ht, zt = aligned(K * size, WT), aligned(K * size, WT)
    f, ft, bad = aligned(n_outputs * block, WT), aligned(K * n_outputs * block, WT), aligned(block, WT)
    starts, mode = aligned(block, table), flush_denormals()
    for start in range(0, n, block):
        stop = min(start + block, n)
        width = whole_vectors(stop - start, WT)
        for j in range(stop - start):
            starts[j] = (start + j) * row_step
        x = matrix(h, 0, n_features, width)
        gather_columns(x, X, stretch(starts, 0, stop - start))
        prefetch_rows(X, stop, min(stop + block, n), row_step, n_features)
        _centre(x, bad, centre)
        for l in range(len(table)):
            n_in, n_out, at = table[l, 0], table[l, 1], table[l, 2]
            W = window(WT, at, n_out, n_in + 1, n_in + 1)
            inner, last = n_in if l > 0 else 0, l == len(table) - 1
            below = matrix(h, 0, n_in + 1, width)
            one = row(below, n_in)
            for j in range(one.size):
                one[j] = 1
            above = matrix(f if last else z, 0, n_out, width)
            slope = matrix(p, 0, 0 if last else n_out, width)
            product(above, W, below, W[:, :0], below[:0], below[:0], False)
            if not last:
                activate(above, slope if K > 0 else slope[:0], below[:0], above, network.activation)
            for k in range(K):
                V = window(VT, k * WT.size + at, n_out, n_in + 1, n_in + 1)
                above_t = matrix(ft if last else zt, k * n_out, n_out, width)
                product(above_t, V, below, W[:, :inner], matrix(ht, k * n_in, inner, width), slope, False)
            h, z = z, h
            ht, zt = zt, ht
        wrong = stretch(bad, 0, stop - start)
        _write(F, start, wrong, f)
        _write(FT, start, wrong, ft)
    restore(mode)


@kernel
def _centre(x, bad, centre):
    """x -= centre, and bad = 0 for rows of finite values, nan for others."""
    zero = x.dtype.type(0)
    for j in range(bad.size):
        bad[j] = zero
    for i in range(len(x)):
        a, c = row(x, i), centre[i]
        for j in range(a.size):
            bad[j] += zero * a[j]
            a[j] -= c


@kernel
def _write(out, start, bad, values):
    """Rows of `out` (n, ...) from `start` on, of as many as `bad`, from the columns of their values; nan for bad ones.

    Indexing `out` itself took 8 cycles a value, a tenth of the time of a 5-17-63-3 network.
    """
    each = out.size // len(out)
    for i in range(each):
        a = stretch(values, i * block_rows(values), bad.size)
        b = stretch(out, start * each + i, (bad.size - 1) * each + 1)
        for j in range(bad.size):
            b[j * each] = a[j] + bad[j]
