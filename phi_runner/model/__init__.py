"""The only home of torch, transformers, TRL and PEFT: load, tokenise, train, merge, generate, score."""
