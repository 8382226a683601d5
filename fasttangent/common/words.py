"""The words of the interface, without what they mean: errors, records and the command line take them from here.

What an activation or a loss is stands in `kernels/`, an embedding in `model/embeddings.py`; tests hold their tables to
these. Nothing is imported, so that ``fasttangent --help`` can list them at once. The first of each is the default.
"""

ACTIVATIONS = ("tanh", "silu", "relu", "softplus", "gelu", "identity")
LOSSES = ("squared", "huber", "log-cosh")
COMPLEXITIES = ("l2", "l2-weights")
GROUPS = ("inputs", "layers", "one")  # of parameters
AUTO = "auto"  # a strength that is learned
OPTIMIZERS = ("adam", "momentum", "sgd")
CURVATURES = ("gauss-newton", "hessian")
DTYPES = ("float32", "float64")
EMBEDDINGS = ("posterior", "error", "gradient", "hidden", "input")
TRANSFORMS = ("yeo-johnson",)
