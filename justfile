# The everyday commands. `just` lists them.

_:
    @just --list --unsorted

# What a change must pass before it is committed; seconds when little changed.
check:
    cargo fmt --all --check
    cargo clippy --locked --all-targets -- -D warnings

# All tests, or those whose name contains NAME.
test *NAME:
    cargo test --locked {{NAME}}

# Gives every fuzz target so many inputs, or only those that are named.
fuzz RUNS="100000" *TARGETS:
    fuzz/run {{RUNS}} {{TARGETS}}

# The page in a browser, or only the tests whose name contains NAME; needs chromium and chromium-driver.
browser *NAME:
    tests/browser/run {{NAME}}

# A peer in Python beside the daemons, and the gateway behind nginx.
python:
    tests/python/run

# The REST API, by its own description.
rest:
    tests/rest/schemathesis

# The documentation as a site, in target/site/html; the browser tests make its pictures.
site:
    docs/site/build

# A whole network in this terminal, with sample files and a console in it.
demo *ARGS:
    cargo run --release --locked -- demo {{ARGS}}

# All benchmarks, or those whose name contains NAME.
bench *NAME:
    cargo bench --locked -- {{NAME}}

# The documentation of the library, opened in a browser.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --open

# Licences, advisories, banned crates and sources; needs cargo-deny.
deny:
    cargo deny --locked check

# Everything that a submission must pass, on this machine.
ci:
    .ci/run

# The image, as floodplain:local.
image:
    docker build --tag floodplain:local .

# A registry and eight peers in containers; `just compose down --volumes` ends them.
compose *ARGS="up --build --wait":
    docker compose {{ARGS}}

# Builds the image and checks a network of nine containers; works without an image registry.
image-check *ARGS:
    deploy/image-check {{ARGS}}

# Lives with the Debian package of a release build on two booted machines in containers; needs root and a container engine.
package-check *ARGS:
    deploy/package-check {{ARGS}}

# The workflows by their schemas, and their steps as scripts.
workflows:
    deploy/workflows/check
