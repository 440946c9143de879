"""Run models with ONNX Runtime on the CPU: exported once with torch, then neither torch nor transformers is needed."""
