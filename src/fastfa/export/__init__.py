"""Networks for programs without fastfa: C source and ONNX models.

`Sequential.to_c` and `Sequential.to_onnx` are the public calls.
"""
