"""Other programs that compute a network's logits than torch: conversion to ONNX, and prediction with onnxruntime."""
