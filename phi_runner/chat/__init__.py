"""Where a person talks to the model: the dialogue, the terminal, the page in the browser, and the votes on answers."""
