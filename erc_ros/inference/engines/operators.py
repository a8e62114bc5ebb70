"""Operators and element types that TensorRT's ONNX parser supports.

From the operator table of onnx-tensorrt for TensorRT 10.0 and 10.1 (opset 9 to 20). Later versions,
such as 10.3 in JetPack 6, only added operators. The list contains operators that the models of this
project may use; a model with another operator is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping

LARGEST_OPSET = 20

_FLOAT = frozenset({"FLOAT", "FLOAT16", "BFLOAT16"})
_NUMBER = _FLOAT | {"INT32", "INT64"}
_ANY = _NUMBER | {"BOOL"}
_BOOL = frozenset({"BOOL"})

_OF_FLOATS = """
    AveragePool BatchNormalization Ceil Celu Clip Conv ConvTranspose Cos CumSum Einsum Elu Erf Exp
    Floor GRU Gemm GlobalAveragePool GlobalMaxPool GroupNormalization HardSigmoid HardSwish
    InstanceNormalization LSTM LayerNormalization LeakyRelu Log LogSoftmax LpNormalization MatMul
    MaxPool PRelu Pow QuantizeLinear Reciprocal Resize Round Selu Sigmoid Sin Softmax Softplus
    Softsign Sqrt Tan Tanh
"""
_OF_NUMBERS = """
    Abs Add ArgMax ArgMin Div Equal Gelu Greater GreaterOrEqual IsNaN Less LessOrEqual Max Mean Min
    Mod Mul Neg Pad Range ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu ScatterElements ScatterND Sign Sub Sum TopK
"""
_OF_ANYTHING = """
    Concat Constant ConstantOfShape Expand Flatten Gather GatherElements GatherND Identity If OneHot
    Reshape Shape Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where
"""

TYPES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(_OF_FLOATS.split(), _FLOAT),
    **dict.fromkeys(_OF_NUMBERS.split(), _NUMBER),
    **dict.fromkeys(_OF_ANYTHING.split(), _ANY),
    **dict.fromkeys(("And", "Or", "Xor", "Not"), _BOOL),
    "Cast": _ANY | {"UINT8"},
    "DequantizeLinear": frozenset({"INT8"}),
}
"""Supported operator -> element types of its data."""

DATA_INPUT: Mapping[str, int] = {"Where": 1, "Constant": -1, "ConstantOfShape": -1}
"""Operator -> index of its data input, if it is not the first; -1: the output has the type."""

CONSTANT_INPUTS: Mapping[str, tuple[int, ...]] = {
    "CumSum": (1,),
    "OneHot": (1,),
    "Pad": (3,),
    **dict.fromkeys(
        ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"), (1,)
    ),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Slice": (3,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
"""Operator -> inputs that must be constants: axes, and the depth of OneHot."""
