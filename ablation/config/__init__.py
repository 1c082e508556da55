"""The configuration: typed schemas, composition by Hydra, and the messages that refuse what is not allowed."""
