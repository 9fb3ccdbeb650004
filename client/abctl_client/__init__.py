"""The client of abctl for bots: asks for decisions, reports outcomes. Never imports the server."""
