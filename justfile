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

# Clients of OpenFeature for tests/sdk.rs.
sdk:
    mkdir -p target/sdk && cp tests/sdk/package.json tests/sdk/package-lock.json target/sdk
    npm ci --prefix target/sdk --ignore-scripts
    python3 -m pip install openfeature-sdk==0.10.0 openfeature-provider-ofrep==0.3.0

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
