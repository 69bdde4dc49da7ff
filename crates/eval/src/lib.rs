//! Task evaluation: prompts, answer reading, metrics and significance.
