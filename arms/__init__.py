"""What decides: schema, nets, training, artefacts, runtime. Never web, Redis or SQL; serving never torch."""
