//! Plans, prompts, parsing and admission of machine-written instructions.
