"""Tasks that join several packages: planning a workspace, validating a fold, importing a model, the demo."""
