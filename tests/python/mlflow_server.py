"""Runs of `eclipse` on a real MLflow server: what the server has afterwards is what the runs' own logs have.

    python3 -m venv venv && venv/bin/pip install -r tests/python/mlflow-requirements.txt
    cargo build --release && venv/bin/python tests/python/mlflow_server.py        # or: just mlflow

Starts a server with SQLite in a temporary folder, trains a run that is interrupted and resumed, one that diverges, and a sweep of parallel jobs twice, and
reads everything back with MLflow's own client. Ends with exit code 1 at the first difference.
"""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ECLIPSE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "eclipse"
RUN = """
world = "emoji"
[data]
n_pairs = 64
n_validation = 16
[model]
n_heads = 2
d_head = 16
n_layers = 1
[train]
steps = 3000
batch_size = 16
checkpoint_every = 20
log_every = 10
[eval]
n_prompts = 8
n_noise = 2
"""


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_server(folder):
    uri = f"http://127.0.0.1:{free_port()}"
    log = open(folder / "server.log", "w")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", uri.rsplit(":", 1)[1], "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    deadline = time.time() + 180
    while time.time() < deadline:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=1) as answer:
                if answer.status == 200:
                    return server, uri
        except OSError:
            pass
        if server.poll() is not None:
            break
        time.sleep(0.1)
    stop(server)
    sys.exit(f"mlflow server does not start:\n{(folder / 'server.log').read_text()[-2000:]}")


def stop(server):
    try:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(10)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        server.kill()


def begin(uri, *arguments):
    environment = dict(os.environ, MLFLOW_TRACKING_URI=uri, ECLIPSE_HOME=str(ROOT))
    return subprocess.Popen([str(ECLIPSE), *map(str, arguments)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def eclipse(uri, *arguments):
    """Runs a command to its end, and again while a slow server lacks values of finished runs."""
    for _ in range(20):
        process = begin(uri, *arguments)
        said = process.communicate()[1]
        check(process.returncode == 0, f"eclipse {' '.join(map(str, arguments))}: {process.returncode}\n{said[-2000:]}")
        if "is slow" not in said:
            break
        print("the server is slow: the same command again")
    check("MLflow" not in said, said[-2000:])


def runs_of(client, experiment):
    found = client.get_experiment_by_name(experiment)
    check(found is not None, f"no experiment {experiment}")
    return client.search_runs([found.experiment_id])


def same(a, b):
    return a == b or (math.isnan(a) and math.isnan(b))


def compare(client, run, folder):
    """The log of the run in `folder`, value by value, and its scores. Returns the numbers of values and scores."""
    expected = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        value = math.nan if row["value"] is None else row["value"]
        expected.setdefault(f"{row['split']}/{row['name']}", []).append((row["step"], value))
    n = 0
    for key, values in expected.items():
        history = sorted(client.get_metric_history(run.info.run_id, key), key=lambda m: m.step)
        found, logged = [m.step for m in history], [step for step, _ in values]
        twice = sorted({step for step in found if found.count(step) > 1})
        check(found == logged, f"{folder.name}: {key}: twice {twice[:9]}, missing {sorted(set(logged) - set(found))[:9]}, {len(found)} of {len(logged)}")
        for metric, (step, value) in zip(history, values):
            check(same(metric.value, value), f"{folder.name}: {key} at {step}: {metric.value}, expected {value}")
            check(abs(metric.timestamp / 1000 - time.time()) < 3600, f"{folder.name}: time of {key}")
        n += len(values)
    scores = {}
    for path in (folder / "eval").glob("*.json"):
        for metric in json.loads(path.read_text())["metrics"]:
            scores[f"score/{metric['name']}/{metric['split']}"] = metric["value"]
    check(scores, f"{folder.name} has no scores")
    for key, value in scores.items():
        check(same(run.data.metrics[key], value), f"{folder.name}: {key}")
    check(set(run.data.metrics) == set(expected) | set(scores), f"{folder.name}: other metrics than the log's")
    check(run.info.run_name == folder.name or folder.name == "run", f"name {run.info.run_name}")
    check(run.info.status == "FINISHED" and run.info.end_time >= run.info.start_time, f"{folder.name}: {run.info.status}")
    check(run.data.params["data.n_pairs"] == "64", f"{folder.name}: {run.data.params}")
    check(run.data.tags["eclipse.device"] == "flex" and run.data.tags["eclipse.host"], f"{folder.name}: {run.data.tags}")
    return n, len(scores)


def resumed(client, uri, folder):
    """A run that Ctrl-C stops, a kill ends, and a third process finishes."""
    (folder / "run.toml").write_text(RUN)
    arguments = ["train", "--config", folder / "run.toml", "--out", folder / "run"]
    for signal_, code, status in [(signal.SIGINT, 130, "KILLED"), (signal.SIGKILL, -9, "RUNNING")]:
        process = begin(uri, *arguments)
        last = steps(folder / "run") + 300
        while (steps(folder / "run") < last or not is_running(client)) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal_)
        said = process.communicate()[1]
        time.sleep(2)  # A batch on its way to the server when its sender was killed.
        check(process.returncode == code, f"stopped by {signal_.name}: {process.returncode}\n{said[-2000:]}")
        [run] = runs_of(client, "train")
        check(run.info.status == status, f"after {signal_.name}: {run.info.status}")
        sent = max((m.step for m in client.get_metric_history(run.info.run_id, "train/loss")), default=0)
        print(f"{signal_.name} after step {steps(folder / 'run')} of 3000, {sent} on the server: {run.info.status}")
        if "--resume" not in arguments:
            arguments.append("--resume")
    eclipse(uri, *arguments)
    [run] = runs_of(client, "train")
    n, n_scores = compare(client, run, folder / "run")
    print(f"resumed twice: one MLflow run, {n} values and {n_scores} scores, each once, equal to metrics.jsonl and eval/")


def is_running(client):
    found = client.get_experiment_by_name("train")
    return bool(found and client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'"))


def steps(folder):
    """The last step in the log of the run in `folder`."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines()[:-1] if path.exists() else []
    return max((json.loads(line)["step"] for line in lines[-5:]), default=0)


def diverged(client, uri, folder):
    """A run that fails at a loss that is not finite."""
    process = begin(uri, "train", "--config", folder / "run.toml", "--out", folder / "diverged", "--set", "objective.lambda=1e39")
    said = process.communicate()[1]
    check(process.returncode == 1, f"a diverging run: {process.returncode}\n{said[-2000:]}")
    [run] = [run for run in runs_of(client, "train") if float(run.data.params["objective.lambda"]) == 1e39]
    rows = [json.loads(line) for line in (folder / "diverged" / "metrics.jsonl").read_text().splitlines()]
    lost = [(f"{row['split']}/{row['name']}", row["step"]) for row in rows if row["value"] is None]
    check(lost, "the run has no value that is not finite")
    for key, step in lost:
        [value] = [m.value for m in client.get_metric_history(run.info.run_id, key) if m.step == step]
        # MLflow keeps infinity as the largest number.
        check(math.isnan(value) or abs(value) > 1e308, f"diverged: {key} at {step}: {value}")
    check(run.info.status == "FAILED", f"diverged: {run.info.status}")
    print(f"diverged: {len(lost)} values that are not finite, in MLflow neither; status FAILED")


def swept(client, uri, folder):
    for attempt in ["new", "again"]:
        eclipse(uri, "sweep", "objectives", "--smoke", "--jobs", 2, "--runs", folder / "runs")
        runs = runs_of(client, "objectives-smoke")
        folders = {path.parent.name: path.parent for path in (folder / "runs/objectives-smoke").glob("*/config.toml")}
        names = sorted(run.info.run_name for run in runs)
        check(names == sorted(folders), f"{attempt}: {len(names)} MLflow runs, expected {len(folders)}: {set(names) ^ set(folders)}")
    n = [compare(client, run, folders[run.info.run_name]) for run in runs if (folders[run.info.run_name] / "metrics.jsonl").exists()]
    check(len(n) > 3, f"{len(n)} trained runs")
    print(f"sweep with 2 jobs, twice: {len(runs)} MLflow runs, {len(n)} of them trained, with {sum(n for n, _ in n)} values")


def main():
    check(ECLIPSE.exists(), f"no {ECLIPSE}: cargo build --release")
    try:
        import mlflow
    except ImportError:
        sys.exit("mlflow is missing: pip install -r tests/python/mlflow-requirements.txt")
    began = time.time()
    for variable in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[variable]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        server, uri = start_server(folder)
        try:
            client = mlflow.tracking.MlflowClient(tracking_uri=uri)
            print(f"mlflow {mlflow.__version__} at {uri}, started in {time.time() - began:.0f} s")
            warm = client.create_run(client.create_experiment("warm"))  # The server imports much at its first requests.
            client.log_metric(warm.info.run_id, "x", 1.0)
            resumed(client, uri, folder)
            diverged(client, uri, folder)
            swept(client, uri, folder)
        finally:
            stop(server)
    print(f"all as it should be, in {time.time() - began:.0f} s")


if __name__ == "__main__":
    main()
