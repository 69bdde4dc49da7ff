# What developers type. Each recipe is plain cargo, so `just` itself is optional.

# List the recipes
default:
    @just --list

# Everything that must hold before a change is taken
check:
    bash .ci/run

# Every test, those in documentation too
test:
    cargo test --workspace

# Format and lint
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# The documentation of all crates, private items too
doc:
    cargo doc --workspace --no-deps --document-private-items

# Licences, duplicates and sources of dependencies (needs cargo-deny)
licences:
    cargo deny --workspace check licenses bans sources

# Fetch the demo model, which some tests and the quickstart use
model:
    cargo run --release -- models fetch smollm2

# Ours beside the peers, in turn on this machine: a folder with their environment and models, their scripts, the public data
bench peers scripts data:
    cargo build --release
    python3 bench/run.py --peers {{peers}} --scripts {{scripts}} --data {{data}}

# Every stage, small, into runs/quickstart
quickstart:
    cargo run --release -- quickstart
