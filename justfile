# Recipes for developers; CI calls the same ones.

default:
    @just --list

fmt:
    cargo fmt --check

lint:
    cargo clippy --all-targets -- -D warnings

docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items

test:
    cargo test

sim:
    cargo test --test simulation --test whole_system

examples:
    for file in config/*.yaml; do cargo run --quiet -- check --config "$file" || exit 1; done

bench:
    cargo bench --bench side_by_side
    cargo bench --bench micro
    cargo bench --bench scale
    cargo bench --bench neighbours

run:
    cargo run --release -- demo

ci:
    bash .ci/run
