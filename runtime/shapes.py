"""Shapes in annotations: `Float32[NDArray[np.float32], "n k"]` is a float32 array of n rows and k columns.

Rule: the names are jaxtyping's (docs.kidger.site/jaxtyping) where it is installed, and plain `typing.Annotated`, which
says the same to a reader and checks nothing, where it is not: the runtime needs numpy and onnxruntime only. Annotations
are never evaluated (PEP 563), so they cost nothing at run time; the tests turn the checking on.

Within one signature a letter is one size:

    n images, or rows    c channels    h height    w width    k classes    ... any axes

What would be Python without its quotes begins with a space, since linters take it for code: " n", " n *image", " ...".
An argument that the function itself checks, to answer with an error of one line, is annotated as loosely as it may
come: `NDArray[Any]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Float32
    from typing import Annotated as Float64
    from typing import Annotated as Int
    from typing import Annotated as Int64
    from typing import Annotated as Num
    from typing import Annotated as Shaped
    from typing import Annotated as UInt8
else:
    try:
        from jaxtyping import Bool, Float, Float32, Float64, Int, Int64, Num, Shaped, UInt8
    except ImportError:
        from typing import Annotated

        Bool = Float = Float32 = Float64 = Int = Int64 = Num = Shaped = UInt8 = Annotated

__all__ = ["Bool", "Float", "Float32", "Float64", "Int", "Int64", "Num", "Shaped", "UInt8"]
