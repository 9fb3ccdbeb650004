"""The command line: reads settings, opens things, hands them down. Never holds a rule that HTTP needs."""
