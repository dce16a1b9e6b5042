"""Engines that are servers of their own, behind our contract: vLLM, and Azure's inference server."""
