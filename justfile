# One line each, over the same commands that work without `just`.

# Carry out an experiment: just sweep objectives --smoke
sweep *ARGS:
    cargo run --release -- sweep {{ARGS}}

# Tables, plots and page again, from run directories only
report *ARGS:
    cargo run --release -- report {{ARGS}}

# All tests, or those whose name contains a word: just test spec::
test *ARGS:
    cargo test --release {{ARGS}}

# Benchmarks
bench *ARGS:
    cargo bench {{ARGS}}

# A GPU's times in ten minutes, beside PyTorch's: just gpu --device cuda
gpu *ARGS:
    benches/gpu.sh {{ARGS}}

# Exported priors in Python's diffusers: the same numbers? Needs tests/python/requirements.txt
parity *ARGS:
    cargo build --release && python3 tests/python/parity.py {{ARGS}}

# Image files here and in Python's Pillow: the same embeddings, or refused by both? Needs tests/python/requirements.txt
images *ARGS:
    cargo build --release && python3 tests/python/image_files.py {{ARGS}}

# Runs on a real MLflow server: the same values as in the runs' logs? Makes a venv with tests/python/mlflow-requirements.txt
mlflow:
    test -d target/mlflow-venv || python3 -m venv target/mlflow-venv
    target/mlflow-venv/bin/pip install --quiet -r tests/python/mlflow-requirements.txt
    cargo build --release && target/mlflow-venv/bin/python tests/python/mlflow_server.py

# The same work here and in PyTorch on this CPU: benches/RESULTS.md. Needs benches/requirements.txt: just compare-pytorch --python PYTHON
compare-pytorch *ARGS:
    python3 benches/compare_pytorch.py {{ARGS}}

# Time against batch, tokens, width, side and threads: docs/images/scaling.csv and .svg
scaling *ARGS:
    cargo bench --bench rows -- --scaling docs/images {{ARGS}}

# Format and lint
check:
    cargo fmt --check && cargo clippy --release --all-targets -- -D warnings

# The gate: everything that a change has to pass
ci:
    .ci/run
