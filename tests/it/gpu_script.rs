//! `benches/gpu.sh`, which people with a card run: on the CPU, with tiny sizes.

use std::path::Path;
use std::process::Command;

use eclipse_t2i::device::DeviceSpec;
use eclipse_t2i::files::read_text;

/// A call of the script: whether it succeeded, and what it said.
fn call(out: &Path, more: &[&str]) -> Option<(bool, String)> {
    let device = DeviceSpec::default().to_string();
    let mut command = Command::new("bash");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gpu.sh"))
        .args([
            "--tiny",
            "--device",
            &device,
            "--binary",
            env!("CARGO_BIN_EXE_eclipse"),
            "--out",
        ])
        .arg(out)
        .args(more)
        .env("ECLIPSE_NO_TORCH", "1");
    match command.output() {
        Ok(output) => Some((
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into(),
        )),
        Err(error) => {
            eprintln!("skipped: bash: {error}");
            None
        }
    }
}

#[test]
fn every_part_is_measured_and_a_second_call_resumes() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: no python3");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("table.md");
    let Some((succeeded, said)) = call(&out, &["--again"]) else {
        return;
    };
    assert!(succeeded, "{said}");
    let table = read_text(&out).expect("the script's table");
    for part in ["verify", "warm-check", "encode", "draw"] {
        assert!(table.contains(&format!("- {part}: passed")), "{table}");
    }
    let rows: Vec<&str> = table.lines().filter(|line| line.contains("| f32 |")).collect();
    let work = |row: &&str| row.split('|').nth(1).unwrap_or_default().trim().to_owned();
    let expected = [
        "step, 6 tokens",
        "step, 14 tokens",
        "step, 30 tokens",
        "step, 77 tokens",
        "vision-l14",
        "text-l14",
        "vision-bigg14",
        "unet",
    ];
    assert_eq!(rows.iter().map(work).collect::<Vec<_>>(), expected, "{table}");
    for row in rows {
        let ms = row
            .split('|')
            .nth(5)
            .and_then(|cell| cell.trim().parse::<f64>().ok());
        assert!(ms.is_some_and(|ms| ms > 0.0), "{row}");
    }
    let (succeeded, said) = call(&out, &[]).expect("bash was there before");
    assert!(succeeded && said.contains("unet-f32: done before"), "{said}");
    assert_eq!(said.matches("done before").count(), 13, "{said}");
}
