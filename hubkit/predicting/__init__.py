"""Predictions beyond a list of texts: for files of any size, of many adapters, in ONNX."""
