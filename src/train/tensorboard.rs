//! TensorBoard event files: records of one protobuf message each.
//!
//! Formats: TFRecord (tensorflow `core/lib/io/record_writer.h`), `Event` and `Summary` (tensorboard `compat/proto/event.proto`, `summary.proto`), of
//! which four fields are needed. They are encoded here: the crates that know the whole schema require a protobuf compiler.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::files::{self, FileError};

/// Content of the first record of a file.
const VERSION: &[u8] = b"brain.Event:2";
/// `kMaskDelta` of tensorflow `core/lib/hash/crc32c.h`.
const MASK_DELTA: u32 = 0xa282_ead8;

/// An event file that is being written. TensorBoard reads all event files of a folder as one run, so each session of a run writes its own file
/// and no file is reopened. Data that is not flushed is lost with the process; readers skip a truncated record at the end.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventFile {
    /// Creates `dir/events.out.tfevents.<seconds of now>.<host>.<process>.<n>` and, if needed, `dir`.
    ///
    /// # Errors
    /// [`FileError::Io`], naming the folder or the file.
    pub fn create(dir: &Path, now: SystemTime) -> Result<Self, FileError> {
        files::create_dir(dir)?;
        let stem = format!(
            "events.out.tfevents.{:010}.{}.{}",
            since_1970(now).as_secs(),
            host(),
            std::process::id()
        );
        let mut n = 0;
        let (path, file) = loop {
            let path = dir.join(format!("{stem}.{n}"));
            match File::create_new(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => n += 1,
                Err(source) => return Err(failed(path, source)),
            }
        };
        let mut events = Self {
            path,
            file: BufWriter::new(file),
        };
        events.write(&event(now, None, Payload::Version))?;
        events.flush()?;
        Ok(events)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds `(tag, value)`s of `step`. A slash in a tag makes a group of charts.
    ///
    /// # Errors
    /// [`FileError::Io`], naming the file.
    pub fn scalars(&mut self, step: usize, values: &[(&str, f32)]) -> Result<(), FileError> {
        self.write(&event(
            SystemTime::now(),
            Some(step as u64),
            Payload::Scalars(values),
        ))
    }

    /// Flushes all records.
    ///
    /// # Errors
    /// [`FileError::Io`], naming the file.
    pub fn flush(&mut self) -> Result<(), FileError> {
        self.file.flush().map_err(|e| failed(self.path.clone(), e))
    }

    fn write(&mut self, event: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(&record(event))
            .map_err(|e| failed(self.path.clone(), e))
    }
}

fn failed(path: PathBuf, source: std::io::Error) -> FileError {
    FileError::Io {
        action: "write",
        path,
        source,
    }
}

/// The host name where it is easy to determine.
pub fn host() -> String {
    let name = files::read_text("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".into(),
        name => name.replace('/', "_"),
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `length u64, masked crc of it u32, data, masked crc of them u32`, little-endian.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(data.len() + 16);
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked_crc(data).to_le_bytes());
    bytes
}

/// The masked CRC-32C: rotated by 15 bits and shifted, because a CRC of data that contains CRCs is weak.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(MASK_DELTA)
}

/// Payload of an event.
enum Payload<'a> {
    Version,
    Scalars(&'a [(&'a str, f32)]),
}

/// An `Event`: `wall_time` 1, `step` 2, `file_version` 3, `summary` 5.
fn event(time: SystemTime, step: Option<u64>, payload: Payload<'_>) -> Vec<u8> {
    let mut message = Message::default();
    message.double(1, since_1970(time).as_secs_f64());
    if let Some(step) = step {
        message.varint(2, step);
    }
    match payload {
        Payload::Version => message.bytes(3, VERSION),
        Payload::Scalars(values) => {
            let mut summary = Message::default();
            for (tag, value) in values {
                // `Summary.Value`: `tag` 1, `simple_value` 2
                let mut entry = Message::default();
                entry.bytes(1, tag.as_bytes());
                entry.float(2, *value);
                summary.bytes(1, &entry.0);
            }
            message.bytes(5, &summary.0);
        }
    }
    message.0
}

/// A protobuf message: fields in sequence, each after its number and wire type.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u64, wire_type: u64) {
        self.raw_varint(field << 3 | wire_type);
    }

    /// Seven bits per byte, the lowest first; the eighth bit is set if more bytes follow.
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.raw_varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.raw_varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Expected bytes: TensorBoard 2.21.0's protobuf classes and `masked_crc32c` for the same events.
    #[test]
    fn records_are_tensorboards_own() {
        // RFC 3720, B.4: CRC-32C of 32 zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        let time = UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(
            hex(&record(&event(time, None, Payload::Version))),
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"
        );
        let values = [("loss", 0.25), ("cos/z_x", -1.0)];
        assert_eq!(
            hex(&record(&event(time, Some(300), Payload::Scalars(&values)))),
            "2b00000000000000861bc34b09000000000000f83f10ac022a1d0a0b0a046c6f7373150000803e0a0e0a07636f732f7a5f7815000080bf70f2c92e"
        );
    }

    /// The data of every record of a file, after checking the checksums.
    fn records(path: &Path) -> Vec<Vec<u8>> {
        let bytes = files::read(path).expect("a file");
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let (length, after) = rest.split_at(8);
            let n = u64::from_le_bytes(length.try_into().expect("eight")) as usize;
            let crc = |at: usize| u32::from_le_bytes(after[at..at + 4].try_into().expect("four"));
            let data = &after[4..4 + n];
            assert_eq!(
                (crc(0), crc(4 + n)),
                (masked_crc(length), masked_crc(data)),
                "record {}",
                found.len()
            );
            found.push(data.to_vec());
            rest = &after[8 + n..];
        }
        found
    }

    #[test]
    fn sessions_write_files_of_their_own() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let folder = dir.path().join("made");
        let mut first = EventFile::create(&folder, now).expect("created");
        let mut second = EventFile::create(&folder, now).expect("created in the same second");
        assert_ne!(first.path(), second.path());
        let name = first
            .path()
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(name.starts_with("events.out.tfevents.1700000000."), "{name}");
        for step in 1..=1000 {
            first
                .scalars(step, &[("loss", 1.0), ("nan", f32::NAN)])
                .expect("written");
        }
        second.scalars(1, &[("loss", 1.0)]).expect("written");
        assert_eq!(
            records(second.path()).len(),
            1,
            "only the version before the flush"
        );
        first.flush().expect("flushed");
        second.flush().expect("flushed");
        assert_eq!(
            (records(first.path()).len(), records(second.path()).len()),
            (1001, 2)
        );
        let tail = |data: &[u8]| data[9..].to_vec(); // after the wall time
        assert_eq!(
            tail(&records(second.path())[1]),
            tail(&event(now, Some(1), Payload::Scalars(&[("loss", 1.0)])))
        );

        std::fs::write(dir.path().join("file"), "").expect("written");
        let error = EventFile::create(&dir.path().join("file"), now).expect_err("no folder");
        assert!(error.to_string().ends_with("file"), "{error}");
    }
}
