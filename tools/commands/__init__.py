"""The commands of `cellwarden`, one module each: HELP, EXAMPLE, arguments(parser), run(args) -> exit code."""
