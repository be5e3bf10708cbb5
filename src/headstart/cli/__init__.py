"""The command line: parse, call one recipe, print. The only room that prints."""
